//! How the databases carry searches out: by indexes, whatever is asked of a long history.

use wick_core::Timestamp;
use wick_store::{Search, Step, filter};

use crate::filled::SHAPES;

/// Enough that a walk does not come to the end of its budget, and a scan would be dear.
pub const RUNS: u32 = 7_000;

/// The searches whose plans are looked at, each with its name.
pub fn searches() -> Vec<(String, Search)> {
    let mut all = Vec::new();
    for (name, text, order) in SHAPES {
        let filter =
            (!text.is_empty()).then(|| filter::parse(text, Timestamp(0)).expect("a filter"));
        let order = if order.is_empty() {
            Vec::new()
        } else {
            filter::parse_order(order).expect("an order")
        };
        all.push((name.to_owned(), Search { filter, order, limit: 100, ..Search::default() }));
    }
    let late = Search { limit: 100, offset: 6_000, ..Search::default() };
    all.push(("a late page".to_owned(), late));
    all
}

/// A line of a plan that reads a whole table where the rows of an index would do.
#[track_caller]
pub fn check(name: &str, steps: &[Step], is_scan: impl Fn(&str) -> bool) {
    assert!(!steps.is_empty(), "{name}");
    for Step { statement, plan } in steps {
        if let Some(scan) = plan.iter().find(|line| is_scan(line)) {
            panic!("{name}: `{scan}` in\n{}\nfor {statement}", plan.join("\n"));
        }
    }
}
