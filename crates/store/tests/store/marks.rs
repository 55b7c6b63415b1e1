//! What people say of runs.

use wick_core::Timestamp;
use wick_store::{Mark, Marks, Search, Store, StoreError};

use crate::world::*;

fn tag(key: &str, value: &str) -> Mark {
    Mark::Tag { key: key.to_owned(), value: value.to_owned() }
}

pub async fn marks_are_set_and_taken_away(store: &dyn Store) {
    let first = Driven::new(store, &["a"]).await.run;
    let second = Driven::new(store, &["a"]).await.run;
    let both = [first.clone(), second.clone()];
    let of = async |run| store.run(run).await.expect("an answer").expect("the run").marks;
    assert_eq!(of(&first).await, Marks::default());

    let (then, later) = (now(), now());
    let odd = "it's \"odd\" 🕯\nand long ".repeat(500);
    let said = [
        Mark::Name(Some("baseline".to_owned())),
        Mark::Note(Some(odd.clone())),
        Mark::Star(true),
        Mark::Archive(true),
        Mark::Delete(true),
        tag("team", "vision"),
        tag("a", ""),
        tag("long", &odd),
    ];
    store.mark_runs(&both, &said, then).await.expect("marked");
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut expect = Marks {
        name: Some("baseline".to_owned()),
        note: Some(odd.clone()),
        starred: Some(then),
        archived: Some(then),
        deleted: Some(then),
        tags: vec![pair("a", ""), pair("long", &odd), pair("team", "vision")],
    };
    assert_eq!((of(&first).await, of(&second).await), (expect.clone(), expect.clone()));

    // Said again, a mark keeps its time, and a tag has its new value.
    let said = [Mark::Star(true), Mark::Delete(false), tag("team", "text"), tag("team", "b")];
    store.mark_runs(&both[..1], &said, later).await.expect("marked");
    (expect.deleted, expect.tags[2].1) = (None, "b".to_owned());
    assert_eq!(of(&first).await, expect);
    assert_eq!(of(&second).await.deleted, Some(then));
    let listed = store.search(&Search::newest(0)).await.expect("a list").runs;
    assert_eq!(listed.last().map(|run| &run.marks), Some(&expect));

    let said = [
        Mark::Name(None),
        Mark::Note(None),
        Mark::Star(false),
        Mark::Archive(false),
        Mark::Untag("team".to_owned()),
        Mark::Untag("none".to_owned()),
        Mark::Untag("a".to_owned()),
        Mark::Untag("long".to_owned()),
    ];
    store.mark_runs(&both[..1], &said, later).await.expect("marked");
    assert_eq!(of(&first).await, Marks::default());
}

pub async fn marks_are_all_or_nothing(store: &dyn Store) {
    let run = Driven::new(store, &["a"]).await.run;
    let nobody = new_run(&[]).id;
    let star = [Mark::Star(true)];
    let told = store.mark_runs(&[run.clone(), nobody.clone()], &star, now()).await;
    assert!(matches!(&told, Err(StoreError::NoRun(none)) if *none == nobody), "{told:?}");
    let wrong = [Mark::Star(true), Mark::Name(Some("@last".to_owned()))];
    let told = store.mark_runs(std::slice::from_ref(&run), &wrong, now()).await;
    assert!(matches!(told, Err(StoreError::Refused(_))), "{told:?}");
    store.mark_runs(&[], &star, now()).await.expect("nothing is asked");
    let record = store.run(&run).await.expect("an answer").expect("the run");
    assert_eq!(record.marks, Marks::default());
}

pub async fn runs_are_found_by_name(store: &dyn Store) {
    let mut first = new_run(&["a"]);
    first.id = "abc000000001".parse().expect("an id");
    let mut second = new_run(&["a"]);
    second.id = "abc000000002".parse().expect("an id");
    for run in [&first, &second] {
        store.create_run(run, &engine(), now()).await.expect("a new run");
    }
    let (first, second) = (first.id, second.id);
    let mark = async |run: &_, mark| {
        store.mark_runs(std::slice::from_ref(run), &[mark], Timestamp(1)).await.expect("marked");
    };
    let find = async |text: &str| store.find_runs(text).await.expect("an answer");
    mark(&first, Mark::Name(Some("abc".to_owned()))).await;
    assert_eq!(find("abc").await, std::slice::from_ref(&first), "a name goes before a prefix");
    assert_eq!(find("ab").await, [second.clone(), first.clone()]);
    mark(&second, Mark::Name(Some("abc".to_owned()))).await;
    assert_eq!(find("abc").await, [second.clone(), first.clone()]);
    mark(&second, Mark::Name(Some("abc000000001".to_owned()))).await;
    assert_eq!(
        find("abc000000001").await,
        std::slice::from_ref(&first),
        "an id goes before a name"
    );
    mark(&first, Mark::Delete(true)).await;
    assert_eq!(find("abc").await, [second.clone(), first.clone()], "only by its id");
    mark(&second, Mark::Delete(true)).await;
    assert!(find("@last").await.is_empty());
    assert_eq!(find("abc000000002").await, [second]);
}
