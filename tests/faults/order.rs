//! In which order things come to the disk. A power cut takes back what was not flushed, which no
//! `kill -9` shows: so bytes must be flushed before they get their name, the name before the
//! record that tells of it, and the record before anything that builds upon it.

use super::shim::Faults;
use crate::sandbox::{Sandbox, ended};

const PIPELINE: &str = "
pipeline: order
stages:
  made:
    uses: command
    with: {run: 'seq 9 > ${outputs.made}', outputs: {made: file}}
  folder:
    uses: command
    inputs: {made: made}
    with:
      run: 'mkdir ${outputs.all}; cp ${inputs.made} ${outputs.all}/one; seq 3 > ${outputs.all}/two'
      outputs: {all: folder}
  rows:
    uses: load
    after: [folder]
    with: {path: rows.csv}
  last:
    uses: command
    inputs: {rows: rows}
    with: {run: ['true']}
";

/// One call that wrote.
struct Call {
    name: String,
    path: String,
    /// Of a rename, what it was called before.
    from: Option<String>,
}

/// All calls of engine and workers that wrote, in their order.
fn calls(sandbox: &Sandbox) -> Vec<Call> {
    let faults = Faults::under(&sandbox.path());
    let mut command = sandbox.command(&["run", "pipeline.yaml"]);
    faults.arm(&mut command);
    ended(sandbox.spawn_command(command), &["run", "pipeline.yaml"]).ends_with(0);
    let state = format!("{}/.wick/", sandbox.path().display());
    faults
        .trace()
        .lines()
        .map(|line| {
            let mut words = line.splitn(3, ' ').skip(1);
            let name = words.next().expect("a name").to_owned();
            let path = words.next().expect("a path").replace(&state, "");
            match path.split_once(" <- ") {
                Some((to, from)) => Call { name, path: to.to_owned(), from: Some(from.to_owned()) },
                None => Call { name, path, from: None },
            }
        })
        .collect()
}

/// The place of the first call after `start` for which `wanted` holds.
#[track_caller]
fn next(calls: &[Call], start: usize, what: &str, wanted: impl Fn(&Call) -> bool) -> usize {
    let found = calls.iter().skip(start).position(wanted);
    start + found.unwrap_or_else(|| panic!("{what} does not come after call {start}"))
}

#[test]
fn bytes_come_before_their_name_and_the_name_before_the_record() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    sandbox.write("wick.yaml", "");
    sandbox.write("rows.csv", "x,y\n1,2\n3,4\n");
    let calls = calls(&sandbox);
    let published: Vec<usize> = (0..calls.len())
        .filter(|place| {
            let call = &calls[*place];
            let name = call.path.rsplit('/').next().unwrap_or_default();
            call.name == "rename" && call.path.starts_with("artifacts/") && name.len() == 64
        })
        .collect();
    assert_eq!(published.len(), 3, "a file, a folder, a dataset");
    for (place, follower) in published.into_iter().zip(["folder", "rows", "last"]) {
        let Call { path, from: Some(held), .. } = &calls[place] else { panic!("a rename") };
        // The bytes, and in a folder the names of its files.
        let under = |call: &&Call| call.path == *held || call.path.starts_with(&format!("{held}/"));
        let before = &calls[..place];
        let flushed: Vec<&str> = before
            .iter()
            .filter(|call| call.name == "sync")
            .filter(under)
            .map(|call| call.path.as_str())
            .collect();
        let files = sandbox.path().join(".wick").join(path);
        let files = std::fs::read_dir(&files).map_or(0, Iterator::count);
        assert_eq!(flushed.len(), files + 1, "{path}: {flushed:?}");
        assert_eq!(flushed.last(), Some(&held.as_str()), "the folder comes after what is in it");
        let written = before.iter().rposition(|call| call.name == "write" && under(&call));
        let last = before.iter().rposition(|call| call.name == "sync" && under(&call));
        assert!(written < last, "{path} was written to after it was flushed");
        // Its name.
        let shelf = path.rsplit_once('/').expect("a folder").0;
        let named = next(&calls, place, "the flush of the name", |call| {
            call.name == "sync" && call.path == shelf
        });
        let made = calls.iter().position(|call| call.name == "mkdir" && call.path == shelf);
        let made = made.expect("a new folder for the first two digits");
        let shelved = next(&calls, made, "the flush of the new folder's name", |call| {
            call.name == "sync" && call.path == "artifacts"
        });
        assert!(shelved < place, "a file is put only where a power cut leaves it");
        // The record, and what builds upon it.
        let recorded = next(&calls, named, "the flushed record", |call| {
            call.name == "sync" && call.path == "store.db-wal"
        });
        let begun = calls
            .iter()
            // Its folder may be there before, empty: what it reads and is told comes before its
            // process.
            .position(|call| {
                matches!(call.name.as_str(), "mkdir" | "write")
                    && call.path.contains(&format!("/{follower}.1/"))
            })
            .expect("the follower begins");
        assert!(recorded < begun, "{follower} begins before {path} is published for good");
    }
}
