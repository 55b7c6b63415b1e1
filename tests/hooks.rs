//! Hooks: what is done when a run has ended.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value;

use crate::sandbox::Sandbox;

fn pipeline(url: &str) -> String {
    format!(
        r#"
pipeline: hooked
params: {{code: 0}}
secrets: {{token: "${{env.WICK_TEST_TOKEN}}"}}
hooks:
  on_success:
    - {{command: 'echo $WICK_RUN $WICK_STATE > succeeded'}}
  on_failure:
    - {{command: 'cat > told.json; echo "key $KEY"; exit 7', env: {{KEY: "${{secrets.token}}"}}}}
    - {{webhook: "{url}", headers: {{Authorization: "Bearer ${{secrets.token}}"}}, timeout: 20s}}
stages:
  only:
    uses: command
    with: {{run: 'exit ${{params.code}}'}}
"#
    )
}

const SECRET: &str = "swordfish-and-chips";

#[test]
fn hooks_are_told_what_happened_and_change_nothing_of_it() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(b"}") {
            let read = stream.read(&mut buffer).expect("a request");
            assert!(read > 0, "the request is cut short");
            request.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("an answer");
        String::from_utf8(request).expect("UTF-8")
    });
    let sandbox = Sandbox::with_pipeline(&pipeline(&url));
    let run = |arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        command.env("WICK_TEST_TOKEN", SECRET);
        crate::sandbox::Ran::new(arguments, command.output().expect("wick starts"))
    };
    run(&["run", "pipeline.yaml"]).ends_with(0);
    let last = sandbox.runs()[0].clone();
    assert_eq!(sandbox.read("succeeded"), format!("{last} succeeded\n"));

    // A hook that fails is a warning; the run failed by itself, with its own code.
    let failed = run(&["run", "pipeline.yaml", "-p", "code=3"]).ends_with(1);
    let last = sandbox.runs()[0].clone();
    let failed = failed.says(&["warning: the hook `cat > told.json", "exit code 7", "hooks.log"]);
    assert!(!failed.everything().contains(SECRET), "{}", failed.everything());
    let log = sandbox.read(format!(".wick/runs/{last}/hooks.log"));
    assert!(log.contains("on_failure") && log.contains("| key ***"), "{log}");
    assert!(log.contains("200 OK") && !log.contains(SECRET), "{log}");
    let request = server.join().expect("the server ends");
    assert!(request.contains(&format!("authorization: Bearer {SECRET}")), "{request}");
    let (_, body) = request.split_once("\r\n\r\n").expect("a body");
    assert_eq!(body, sandbox.read("told.json"), "both are told the same");
    let told: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(told["version"], 1);
    assert_eq!(told["run"], last.as_str());
    assert_eq!((&told["event"], &told["state"]), (&"on_failure".into(), &"failed".into()));
    assert_eq!(told["failed"][0]["stage"], "only");
    assert!(told["failed"][0]["message"].as_str().is_some_and(|text| text.contains("code 3")));
}

#[test]
fn a_secret_that_is_not_there_is_named() {
    let sandbox = Sandbox::with_pipeline(&pipeline("http://127.0.0.1:1/"));
    sandbox.wick(&["run", "pipeline.yaml", "-p", "code=1"]).ends_with(1).says(&[
        "the hook http://127.0.0.1:1/ failed: the secret `token` is not there",
        "WICK_TEST_TOKEN",
    ]);
}
