//! What MLflow wrote, read in each of its three forms. The fixtures were made by MLflow 3.17: its
//! own files, the tables of its own database, and its own answers as a server.

mod server;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sqlx::ConnectOptions;
use tempfile::TempDir;
use wick_mlflow::{Credentials, ForeignRun, Listing, MlflowError, Place, Source, Status, dump};

use server::{Reply, Request, Server};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A copy of the folder, to be damaged. Git keeps no empty folders: MLflow makes them.
fn folder() -> (TempDir, PathBuf) {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("made");
        for entry in fs::read_dir(from).expect("a folder") {
            let entry = entry.expect("an entry");
            let to = to.join(entry.file_name());
            if entry.file_type().expect("its type").is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).expect("copied");
            }
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    copy(&fixtures().join("mlruns"), &folder.path().join("mlruns"));
    let path = folder.path().join("mlruns");
    (folder, path)
}

async fn database(path: &Path, then: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.expect("a database");
    let sql = fs::read_to_string(fixtures().join("mlflow.sql")).expect("the fixture");
    for sql in [sql.as_str(), then] {
        let query = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
        query.execute(&mut connection).await.expect("it works");
    }
    sqlx::Connection::close(connection).await.expect("closed");
}

/// All that can be read of a place, and what cannot.
async fn read(place: &Place) -> Result<(Vec<ForeignRun>, Listing, Vec<String>), MlflowError> {
    let mut source = Source::open(place, Credentials::default()).await?;
    let listing = source.list().await?;
    let mut runs = Vec::new();
    let mut failed = Vec::new();
    for listed in &listing.runs {
        match source.run(listed).await {
            Ok(run) => runs.push(run),
            Err(MlflowError::Run(why)) => failed.push(why),
            Err(error) => return Err(error),
        }
    }
    Ok((runs, listing, failed))
}

/// What stands in every form of the fixtures.
fn check(runs: &[ForeignRun]) {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_deref().unwrap_or("")).collect();
    assert_eq!(names, ["first try", "child", "killed one", "still running"]);
    let statuses: Vec<Status> = runs.iter().map(|run| run.status).collect();
    use Status::*;
    assert_eq!(statuses, [Finished, Failed, Killed, Running]);
    let first = &runs[0];
    assert_eq!(first.experiment, "digits & more");
    assert_eq!(first.user.as_deref(), Some("ann"));
    assert_eq!((first.started, first.finished), (1_700_000_000_000, Some(1_700_000_060_000)));
    let mut params = first.params.clone();
    params.sort();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        params,
        [pair("layers", "[32, 64]"), pair("lr", "0.01"), pair("model", "cnn"), pair("sp ace", "x")]
    );
    assert!(first.tags.contains(&pair("odd key/with.dots", "tagged")), "{:?}", first.tags);
    assert!(first.tags.contains(&pair("mlflow.note.content", "a *note*\nof two lines")));
    let series = |key: &str| {
        let found = first.series.iter().find(|series| series.key == key);
        found.unwrap_or_else(|| panic!("{key}")).points.clone()
    };
    let loss = series("loss");
    assert_eq!(loss.len(), 25);
    assert_eq!(loss[2], (2, 1_700_000_002_000, 1.0 / 3.0));
    let odd: Vec<String> = series("val/acc").iter().map(|point| point.2.to_string()).collect();
    assert_eq!(odd, ["0.5", "NaN", "inf", "-inf", "0.9"]);
    let same = series("same step");
    assert_eq!(same.iter().map(|point| point.2).collect::<Vec<_>>(), [0.0, 1.0, 2.0]);
    assert_eq!(series("neg"), [(-7, 1_700_000_000_000, -1.5)]);
    assert_eq!(runs[3].finished, None);

    let dumps: Vec<_> = runs.iter().map(|run| dump::of(run).expect("a dump")).collect();
    assert_eq!(dumps[1].parent.as_ref(), Some(&dumps[0].id), "the child's");
    assert_eq!(dumps[0].marks.name.as_deref(), Some("first try"));
    assert_eq!(dumps[0].marks.note.as_deref(), Some("a *note*\nof two lines"));
    let environment: Value =
        serde_json::from_str(dumps[0].environment.as_str()).expect("it is JSON");
    assert_eq!(environment["git"]["commit"], "0123456789abcdef0123456789abcdef01234567");
    let lr = dumps[0].params.iter().find(|param| param.name == "lr").expect("it is there");
    assert_eq!(lr.value.number(), Some(0.01));
}

#[test]
fn a_folder_is_read() {
    block_on(async {
        let place = Place::parse(&fixtures().display().to_string()).expect("a place");
        let (runs, listing, failed) = read(&place).await.expect("it is MLflow's");
        check(&runs);
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(listing.skipped.len(), 1, "{:?}", listing.skipped);
        assert_eq!(listing.skipped[0].why, "it was deleted");
        let source = Source::open(&place, Credentials::default()).await.expect("it is there");
        let artifacts = source.artifacts(&listing.runs[0]).expect("it has some");
        assert_eq!(fs::read(artifacts.join("sub/hello.txt")).expect("a file"), b"hello\n");
    });
}

#[test]
fn a_damaged_folder_is_read_as_far_as_it_can_be() {
    const FIRST: &str = "793896446881606412/2ba6dd20ce3d4a329cc1bd873c3f284e";
    const KILLED: &str = "0/9d3043fbfd3a4848b99cbd779803b462";
    type Damage = fn(&Path);
    #[rustfmt::skip]
    let cases: [(Damage, &str); 14] = [
        (|root| fs::write(root.join(FIRST).join("meta.yaml"), "a: [1").expect("written"),
         "its meta.yaml is broken"),
        (|root| fs::write(root.join(FIRST).join("meta.yaml"), "- x").expect("written"),
         "its meta.yaml is broken"),
        (|root| fs::write(root.join(FIRST).join("meta.yaml"), [0xff, 0xfe]).expect("written"),
         "its meta.yaml: not UTF-8"),
        (|root| fs::write(root.join(FIRST).join("meta.yaml"), "x".repeat(2 << 20)).expect("written"),
         "its meta.yaml: longer than 1 MiB"),
        (|root| fs::remove_file(root.join(FIRST).join("meta.yaml")).expect("removed"),
         "its meta.yaml: No such file"),
        (|root| {
            let meta = root.join(FIRST).join("meta.yaml");
            let text = fs::read_to_string(&meta).expect("read");
            fs::write(&meta, text.replace("run_id: 2ba6", "run_id: ../../2ba6")).expect("written");
        }, "its meta.yaml is another run's"),
        (|root| {
            let meta = root.join(FIRST).join("meta.yaml");
            let text = fs::read_to_string(&meta).expect("read");
            fs::write(&meta, text.replace("status: 3", "status: 17")).expect("written");
        }, "its status is unknown"),
        (|root| fs::write(root.join(FIRST).join("metrics/loss"), "1 2 3\n1 x 3\n").expect("written"),
         "metrics/loss: line 2 is not a point"),
        (|root| fs::write(root.join(FIRST).join("metrics/loss"), "1".repeat(1 << 20)).expect("written"),
         "metrics/loss: line 1 is too long"),
        (|root| fs::write(root.join(FIRST).join("params/lr"), "x".repeat(2 << 20)).expect("written"),
         "its file lr: longer than 1 MiB"),
        (|root| {
            let deep = root.join(FIRST).join("tags").join("a/".repeat(40));
            fs::create_dir_all(&deep).expect("made");
            fs::write(deep.join("x"), "x").expect("written");
        }, "too many files, or too long names"),
        (|root| fs::remove_file(root.join("793896446881606412/meta.yaml")).expect("removed"),
         "its meta.yaml: No such file"),
        (|root| {
            let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                        c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
                        e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
                        g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n\
                        name: *g\n";
            fs::write(root.join("793896446881606412/meta.yaml"), bomb).expect("written");
        }, "its meta.yaml"),
        (|root| fs::rename(root.join(FIRST), root.join("793896446881606412/2ba6 x")).expect("renamed"),
         "its folder is not named as MLflow names runs"),
    ];
    block_on(async {
        for (damage, expect) in cases {
            let (_folder, root) = folder();
            damage(&root);
            let (runs, listing, failed) =
                read(&Place::Folder(root.clone())).await.expect("the rest is read");
            let whys: Vec<&str> = listing
                .skipped
                .iter()
                .map(|skipped| skipped.why.as_str())
                .chain(failed.iter().map(String::as_str))
                .collect();
            assert!(whys.iter().any(|why| why.contains(expect)), "{expect}: {whys:?}");
            assert!(runs.iter().all(|run| run.name.as_deref() != Some("first try")), "{expect}");
            assert!(runs.iter().any(|run| run.name.as_deref() == Some("killed one")), "{expect}");
        }
        // Links are not followed: neither to runs nor to files, nor out of the folder.
        let (folder, root) = folder();
        let secret = folder.path().join("secret");
        fs::create_dir(&secret).expect("made");
        fs::write(secret.join("token"), "swordfish").expect("written");
        let killed = root.join(KILLED);
        fs::create_dir_all(killed.join("params")).expect("made");
        std::os::unix::fs::symlink(secret.join("token"), killed.join("params/token"))
            .expect("a link");
        std::os::unix::fs::symlink(&secret, killed.join("tags/secret")).expect("a link");
        std::os::unix::fs::symlink(&killed, root.join("0/linked")).expect("a link");
        let _ = fs::remove_dir_all(killed.join("artifacts"));
        std::os::unix::fs::symlink(&secret, killed.join("artifacts")).expect("a link");
        let place = Place::Folder(root);
        let (runs, listing, failed) = read(&place).await.expect("it is read");
        assert_eq!((runs.len(), failed.len()), (4, 0));
        assert!(!format!("{runs:?}").contains("swordfish"));
        let source = Source::open(&place, Credentials::default()).await.expect("it is there");
        assert!(listing.runs.iter().filter_map(|listed| source.artifacts(listed)).count() == 1);
        // What is no folder of MLflow's is said to be none.
        let error = read(&Place::Folder(secret)).await.expect_err("none");
        assert!(error.to_string().contains("is not a folder of MLflow"), "{error}");
    });
}

#[test]
fn a_database_is_read() {
    block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mlflow.db");
        database(&path, "").await;
        let before = fs::read(&path).expect("its bytes");
        let (runs, listing, failed) = read(&Place::Database(path.clone())).await.expect("read");
        check(&runs);
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(listing.skipped.len(), 2, "{:?}", listing.skipped);
        assert_eq!(fs::read(&path).expect("its bytes"), before, "it is only read");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    });
}

#[test]
fn a_damaged_database_is_read_as_far_as_it_can_be() {
    block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mlflow.db");
        let damage = "
            PRAGMA foreign_keys = off; PRAGMA ignore_check_constraints = on;
            UPDATE runs SET run_uuid = '../../etc' WHERE name = 'killed one';
            UPDATE runs SET experiment_id = 99 WHERE name = 'child';
            INSERT INTO tags (key, value, run_uuid)
                SELECT CAST(x'ff' AS TEXT), CAST(x'fe' AS TEXT), run_uuid
                FROM runs WHERE name = 'deleted one';
            UPDATE runs SET lifecycle_stage = 'active' WHERE name = 'deleted one';
            UPDATE runs SET status = 'ODD' WHERE name = 'still running';
            INSERT INTO params (key, value, run_uuid)
                SELECT 'long', replace(hex(zeroblob(1000000)), '0', 'x'), run_uuid
                FROM runs WHERE name = 'first try';
            UPDATE metrics SET value = 'text' WHERE key = 'neg'";
        database(&path, damage).await;
        let (runs, listing, failed) = read(&Place::Database(path.clone())).await.expect("read");
        assert!(runs.is_empty(), "{runs:?}");
        let whys: Vec<&str> = listing.skipped.iter().map(|skipped| skipped.why.as_str()).collect();
        assert!(whys.contains(&"its id is not one of MLflow's"), "{whys:?}");
        assert!(whys.contains(&"its experiment is not there"), "{whys:?}");
        assert!(failed.contains(&"its status is unknown".to_owned()), "{failed:?}");
        assert!(failed.iter().any(|why| why.contains("too long ones")), "{failed:?}");
        assert!(failed.iter().any(|why| why.contains("utf-8")), "{failed:?}");
        let other = folder.path().join("other.db");
        fs::write(&other, "this is not a database, and never was one").expect("written");
        let error = read(&Place::Database(other)).await.expect_err("none");
        assert!(error.to_string().contains("is not MLflow's database"), "{error}");
        let none = read(&Place::Database(folder.path().join("none.db"))).await;
        assert!(matches!(none, Err(MlflowError::Read { .. })));
    });
}

/// Answers as MLflow's server does, two entries a page.
fn tracking(request: &Request) -> Reply {
    let recorded: Value = serde_json::from_str(
        &fs::read_to_string(fixtures().join("rest.json")).expect("the fixture"),
    )
    .expect("JSON");
    let path = request.path.strip_prefix("/base/api/2.0/mlflow/").unwrap_or_default();
    let query = |name: &str| request.query.get(name).cloned().unwrap_or_default();
    let (key, list) = match path {
        "experiments/search" => (path.to_owned(), Some("experiments")),
        "runs/search" => {
            let experiment = request.body["experiment_ids"][0].as_str().unwrap_or_default();
            (format!("{path} {experiment}"), Some("runs"))
        }
        "runs/get" => (format!("{path} {}", query("run_id")), None),
        "metrics/get-history" => {
            (format!("{path} {} {}", query("run_id"), query("metric_key")), Some("metrics"))
        }
        _ => return Reply::json(404, &json!({"message": "no such path"})),
    };
    let mut answer = recorded[&key].clone();
    if answer.is_null() {
        return Reply::json(404, &json!({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": key}));
    }
    if let Some(list) = list {
        let token =
            request.body["page_token"].as_str().map_or_else(|| query("page_token"), str::to_owned);
        let from: usize = token.parse().unwrap_or(0);
        let all = answer[list].as_array().cloned().unwrap_or_default();
        let page: Vec<Value> = all.iter().skip(from).take(2).cloned().collect();
        if from + page.len() < all.len() {
            answer["next_page_token"] = (from + page.len()).to_string().into();
        }
        answer[list] = page.into();
    }
    Reply::json(200, &answer)
}

#[test]
fn a_server_is_read_page_by_page() {
    block_on(async {
        let server = Server::start(tracking);
        let place = Place::parse(&server.url("/base/")).expect("an address");
        let (runs, _, failed) = read(&place).await.expect("it is MLflow's");
        check(&runs);
        assert!(failed.is_empty(), "{failed:?}");
    });
}

#[test]
fn credentials_reach_the_server_that_was_named() {
    block_on(async {
        let server = Server::start(|request| match request.headers.get("authorization") {
            Some(header) if header == "Basic YW5uOnN3b3JkZmlzaA==" || header == "Bearer abc" => {
                Reply::json(200, &json!({}))
            }
            _ => Reply::json(401, &json!({"message": "who are you?"})),
        });
        let url = server.url("");
        let place = Place::parse(&url).expect("an address");
        let list = async |place: &Place, credentials: Credentials| {
            Source::open(place, credentials).await.expect("an address").list().await
        };
        let error = list(&place, Credentials::default()).await.expect_err("refused");
        assert!(
            error.to_string().ends_with("401 Unauthorized to experiments/search: who are you?")
        );
        let user = Credentials {
            user: Some("ann".to_owned()),
            password: Some("swordfish".to_owned()),
            token: None,
        };
        assert!(list(&place, user).await.is_ok());
        let token = Credentials { token: Some("abc".to_owned()), ..Credentials::default() };
        assert!(list(&place, token).await.is_ok());
        let place = Place::parse(&url.replace("http://", "http://ann:swordfish@")).expect("one");
        assert!(list(&place, Credentials::default()).await.is_ok());
    });
}

#[test]
fn a_hostile_server_is_left() {
    type Answers = fn(&Request) -> Reply;
    #[rustfmt::skip]
    let cases: [(Answers, &str); 6] = [
        (|_| Reply::json(200, &json!({"next_page_token": "again"})), "never comes to the end"),
        (|_| Reply::raw("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
         "redirects are not followed"),
        (|_| Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<ht>"), "something else than is asked"),
        (|_| Reply::raw("nonsense\r\n\r\n"), "cannot be reached"),
        (|_| Reply::endless(), "larger than 64 MiB"),
        (|_| Reply::json(500, &json!({"message": "\u{1b}[31mred"})), "500 Internal Server Error to experiments/search:  [31mred"),
    ];
    block_on(async {
        for (answers, expect) in cases {
            let server = Server::start(answers);
            let place = Place::parse(&server.url("")).expect("an address");
            let error = read(&place).await.expect_err("it cannot be read");
            assert!(error.to_string().contains(expect), "{error}");
        }
        let error = read(&Place::parse("http://ann:swordfish@127.0.0.1:1/").expect("an address"))
            .await
            .expect_err("nobody is there");
        assert!(!format!("{error:?}").contains("swordfish"), "{error:?}");
        // Ids that would lead elsewhere are not asked for.
        let server = Server::start(|request| match request.path.as_str() {
            "/api/2.0/mlflow/experiments/search" => {
                Reply::json(200, &json!({"experiments": [{"experiment_id": "1", "name": "e"}]}))
            }
            "/api/2.0/mlflow/runs/search" => Reply::json(
                200,
                &json!({"runs": [{"info": {"run_id": "../../admin"}}, {"info": {}}, 7]}),
            ),
            other => panic!("{other} was asked for"),
        });
        let place = Place::parse(&server.url("")).expect("an address");
        let (runs, listing, _) = read(&place).await.expect("it is read");
        assert!(runs.is_empty());
        assert_eq!(listing.skipped.len(), 3);
    });
}
