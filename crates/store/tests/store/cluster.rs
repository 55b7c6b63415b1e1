//! A throw-away Postgres server, for these tests and those of the whole `wick`: started when the first one asks for it, gone when
//! the last one has ended, however it ended.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// A running server.
pub struct Cluster {
    folder: PathBuf,
    /// The script that keeps it. It stops the server when its standard input ends, and that ends
    /// with this process, even if it is killed. Each line that it is given starts the server again.
    keeper: Mutex<Keeper>,
}

struct Keeper {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _script: Child,
}

/// `$1`: the folder of Postgres' programs, `$2`: the cluster's own, `$3`: whether a commit waits
/// until it is written. Nothing is flushed to disk: what is tested here is not Postgres. It listens on a socket in its folder and nowhere else.
const KEEP: &str = r#"
    cd "$2" || exit
    "$1/initdb" -D data -U wick -A trust -E UTF8 --locale=C --no-sync >log 2>&1 &&
    "$1/pg_ctl" -D data -l server.log -w -s start -o \
        "-c listen_addresses='' -c unix_socket_directories='$2' -c fsync=off \
         -c synchronous_commit=$3 -c full_page_writes=off -c max_connections=200" >>log 2>&1 &&
    echo ready
    while read -r word; do
        "$1/pg_ctl" -D data -l server.log -m immediate -w -s restart >>log 2>&1 && echo "$word"
    done
    "$1/pg_ctl" -D data -m immediate -w -s stop >>log 2>&1
    rm -rf "$2"
"#;

impl Cluster {
    /// The server of this test run; `None` where Postgres is not installed.
    pub fn get() -> Option<&'static Cluster> {
        static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
        CLUSTER.get_or_init(|| programs().map(|programs| Cluster::start(&programs, "off"))).as_ref()
    }

    /// A server for one test alone, which survives being started again; `None` where Postgres is
    /// not installed.
    #[allow(dead_code, reason = "the tests of the store have no use for it")]
    pub fn own() -> Option<Cluster> {
        programs().map(|programs| Cluster::start(&programs, "on"))
    }

    /// Starts the server again, as after a crash: nobody is told, no connection is closed in peace.
    #[allow(dead_code, reason = "the tests of the store have no use for it")]
    pub fn restart(&self) {
        let mut keeper = self.keeper.lock().expect("no panic");
        keeper.input.write_all(b"again\n").expect("it listens");
        let mut line = String::new();
        keeper.output.read_line(&mut line).expect("its output");
        assert_eq!(line, "again\n", "Postgres does not start again");
    }

    fn start(programs: &Path, synchronous: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("wick-pg").tempdir().expect("a folder").keep();
        let mut command = Command::new("sh");
        command.args(["-c", KEEP, "keeper"]).arg(programs).arg(&folder).arg(synchronous);
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C in the terminal is for the tests; the keeper notices by itself.
        command.process_group(0);
        // Postgres does not run as root.
        if std::fs::metadata(&folder).expect("our folder").uid() == 0 {
            let (user, group) = unprivileged();
            chown(&folder, Some(user), Some(group)).expect("root may");
            command.uid(user).gid(group);
        }
        let mut script = command.spawn().expect("a shell");
        let mut line = String::new();
        let mut output = BufReader::new(script.stdout.take().expect("it is piped"));
        output.read_line(&mut line).expect("its output");
        let input = script.stdin.take().expect("it is piped");
        let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert_eq!(line, "ready\n", "Postgres does not start: {}", log());
        Self { folder, keeper: Mutex::new(Keeper { input, output, _script: script }) }
    }

    /// The URL of a schema in the server: each test has its own.
    pub fn url(&self, schema: &str) -> String {
        let socket = self.folder.display();
        format!("postgres://wick@localhost/postgres?host={socket}&options[search_path]={schema}")
    }
}

/// The folder of Postgres' programs: on the path, or where Debian keeps the newest.
fn programs() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&paths).collect();
    let mut debian: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .collect();
    debian.sort();
    folders.extend(debian.into_iter().rev());
    folders
        .into_iter()
        .find(|folder| ["initdb", "pg_ctl"].iter().all(|program| folder.join(program).exists()))
}

/// A user that is not root, from /etc/passwd.
fn unprivileged() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").expect("a list of users");
    ["postgres", "nobody"]
        .iter()
        .find_map(|wanted| {
            let line = users.lines().find(|line| line.split(':').next() == Some(wanted))?;
            let mut fields = line.split(':').skip(2);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        })
        .expect("a user called postgres or nobody")
}
