//! Which runs an index alone can name: the few among which a filter's are.
//!
//! A [`Driver`] gives more runs than the filter at times, never fewer; the filter is asked again of
//! every one.

use super::Context;
use super::Visible;
use super::condition::param_json;
use super::fragment::{Arg, Dialect, Fragment};
use crate::filter::{Comparison, Condition, Expr, Field, RunField, Test, Value};

/// More parts than this are not counted: a filter of so many is asked of every run instead.
const MAX_LEGS: usize = 64;

/// Where the runs of a filter are found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Driver {
    /// Rows of one index.
    Leg(Leg),
    /// All that these find.
    All(Vec<Driver>),
    /// What any of these finds will do.
    Any(Vec<Driver>),
}

/// A range of an index whose rows name runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Leg {
    /// The column that is the run.
    run: &'static str,
    /// What follows FROM.
    rows: Fragment,
}

impl Leg {
    fn new(run: &'static str, rows: &'static str) -> Self {
        Self { run, rows: Fragment::new(rows) }
    }

    /// How many rows there are; `most` where there are more.
    fn count(&self, most: i64) -> Fragment {
        let mut sql = Fragment::new("(SELECT count(*) FROM (SELECT 1 FROM ");
        sql.append(self.rows.clone()).push(" LIMIT ").int(most).push(") AS few)");
        sql
    }

    fn runs(self) -> Fragment {
        let mut sql = Fragment::new("SELECT ");
        sql.push(self.run).push(" FROM ").append(self.rows);
        sql
    }
}

impl Driver {
    /// The driver of a search; `None` where no index knows its runs.
    pub(crate) fn of(context: &Context, filter: Option<&Expr>, visible: Visible) -> Option<Self> {
        let visible = match visible {
            Visible::Archived => Some("runs WHERE archived IS NOT NULL"),
            Visible::Deleted => Some("runs WHERE deleted IS NOT NULL"),
            Visible::Live | Visible::All => None,
        };
        let visible = visible.map(|rows| Driver::Leg(Leg::new("id", rows)));
        let filter = filter.and_then(|filter| of_expr(context, filter));
        let mut any: Vec<Driver> = visible.into_iter().chain(filter).collect();
        let driver = if any.len() > 1 { Driver::Any(any) } else { any.pop()? };
        (driver.legs().len() <= MAX_LEGS).then_some(driver)
    }

    /// All its legs, in the order in which counts are given to [`choose`](Self::choose).
    pub(crate) fn legs(&self) -> Vec<&Leg> {
        match self {
            Driver::Leg(leg) => vec![leg],
            Driver::All(inner) | Driver::Any(inner) => {
                inner.iter().flat_map(Driver::legs).collect()
            }
        }
    }

    /// How many rows each leg has, as one question; at most `most` of each are counted.
    pub(crate) fn counts(&self, most: i64) -> Option<(Fragment, usize)> {
        let mut sql = Fragment::new("SELECT ");
        let legs = self.legs();
        for (place, leg) in legs.iter().enumerate() {
            if place > 0 {
                sql.push(", ");
            }
            sql.append(leg.count(most));
        }
        (!legs.is_empty()).then_some((sql, legs.len()))
    }

    /// The legs that name the fewest runs, and how many those are.
    pub(crate) fn choose(self, counts: &mut impl Iterator<Item = i64>) -> (Vec<Leg>, i64) {
        match self {
            Driver::Leg(leg) => (vec![leg], counts.next().unwrap_or(i64::MAX)),
            Driver::All(inner) => {
                let mut all = (Vec::new(), 0_i64);
                for driver in inner {
                    let (legs, count) = driver.choose(counts);
                    all.0.extend(legs);
                    all.1 = all.1.saturating_add(count);
                }
                all
            }
            Driver::Any(inner) => {
                // Each takes its counts, whether it is chosen or not.
                let chosen: Vec<_> = inner.into_iter().map(|one| one.choose(counts)).collect();
                let least = chosen.into_iter().min_by_key(|(_, count)| *count);
                least.unwrap_or((Vec::new(), i64::MAX))
            }
        }
    }
}

/// The runs that `legs` name, each once, as a subquery.
pub(crate) fn runs(legs: Vec<Leg>) -> Fragment {
    let mut sql = Fragment::default();
    if legs.is_empty() {
        return Fragment::new("SELECT id FROM runs WHERE false");
    }
    if legs.len() == 1 {
        sql.push("SELECT DISTINCT * FROM (");
    }
    let is_one = legs.len() == 1;
    for (place, leg) in legs.into_iter().enumerate() {
        if place > 0 {
            sql.push(" UNION ");
        }
        sql.append(leg.runs());
    }
    if is_one {
        sql.push(") AS one");
    }
    sql
}

fn of_expr(context: &Context, expr: &Expr) -> Option<Driver> {
    match expr {
        Expr::Always(false) => Some(Driver::All(Vec::new())),
        Expr::Always(true) | Expr::Not(_) => None,
        Expr::And(all) => {
            let mut any: Vec<_> = all.iter().filter_map(|expr| of_expr(context, expr)).collect();
            if any.len() > 1 { Some(Driver::Any(any)) } else { any.pop() }
        }
        Expr::Or(all) => {
            let all = all.iter().map(|expr| of_expr(context, expr));
            all.collect::<Option<Vec<_>>>().map(Driver::All)
        }
        Expr::Is(condition) => of_condition(context, condition),
    }
}

fn of_condition(context: &Context, condition: &Condition) -> Option<Driver> {
    let Condition { field, test } = condition;
    match field {
        // Of a metric that nobody knows, too, there is nothing to look up but that it is missing.
        Field::Metric(_) if *test == Test::Missing => None,
        Field::Metric(name) => {
            let legs = context.meanings(name).into_iter().map(|meaning| {
                let mut leg = Leg::new("run_id", "run_metrics WHERE key_id = ");
                leg.rows.int(meaning.key);
                range(leg, "value", test)
            });
            legs.collect::<Option<Vec<_>>>().map(Driver::All)
        }
        Field::Param(name) => of_param(context.dialect, name, test),
        Field::Tag(key) => {
            let mut leg = Leg::new("run_id", "tags WHERE key = ");
            leg.rows.text(key);
            match (test, context.dialect) {
                (Test::Present, _) => Some(Driver::Leg(leg)),
                (_, Dialect::Sqlite) => range(leg, "value", test),
                // The index holds hashes: a value may be longer than an entry.
                (_, Dialect::Postgres) => {
                    hashed(&mut leg.rows, equals(test)?);
                    Some(Driver::Leg(leg))
                }
            }
        }
        Field::Run(field) => of_run(*field, test),
        Field::Stage { .. } | Field::Artifact { .. } | Field::Dataset(_) => None,
    }
}

fn of_param(dialect: Dialect, name: &str, test: &Test) -> Option<Driver> {
    let numbers = |test: &Test| {
        let mut leg = Leg::new("run_id", "params WHERE name = ");
        // The index holds numbers only, and this says that they will do.
        leg.rows.text(name).push(" AND number IS NOT NULL");
        range(leg, "number", test)
    };
    let texts = |texts: Vec<&String>| {
        let mut leg = Leg::new("run_id", "params WHERE name = ");
        leg.rows.text(name);
        let json = texts.into_iter().flat_map(|text| param_json(text));
        match dialect {
            Dialect::Sqlite => _ = leg.rows.push(" AND value IN ").list(json),
            Dialect::Postgres => hashed(&mut leg.rows, json),
        }
        Driver::Leg(leg)
    };
    match test {
        Test::Present => {
            let mut leg = Leg::new("run_id", "params WHERE name = ");
            leg.rows.text(name);
            Some(Driver::Leg(leg))
        }
        Test::Compare(Comparison::Equal, Value::Text(text)) => Some(texts(vec![text])),
        Test::In { values, negated: false } => {
            let (of_numbers, of_texts): (Vec<&Value>, Vec<&Value>) =
                values.iter().partition(|value| matches!(value, Value::Number(_)));
            let mut all = Vec::new();
            if !of_numbers.is_empty() {
                let values = of_numbers.into_iter().cloned().collect();
                all.push(numbers(&Test::In { values, negated: false })?);
            }
            let of_texts: Vec<&String> = of_texts
                .into_iter()
                .filter_map(|value| if let Value::Text(text) = value { Some(text) } else { None })
                .collect();
            if !of_texts.is_empty() {
                all.push(texts(of_texts));
            }
            Some(Driver::All(all))
        }
        Test::Compare(_, Value::Number(_)) | Test::Between { low: Value::Number(_), .. } => {
            numbers(test)
        }
        _ => None,
    }
}

/// The texts of which a test wants one.
fn equals(test: &Test) -> Option<Vec<Arg>> {
    let values = match test {
        Test::Compare(Comparison::Equal, value) => std::slice::from_ref(value),
        Test::In { values, negated: false } => values,
        _ => return None,
    };
    let text = |value: &Value| match value {
        Value::Text(text) => Some(Arg::Text(text.clone())),
        _ => None,
    };
    values.iter().map(text).collect()
}

/// ` AND` the value is one of these, by the hashes that an index of Postgres holds: a value may be
/// longer than an entry.
fn hashed(rows: &mut Fragment, values: impl IntoIterator<Item = Arg>) {
    rows.push(" AND md5(value) IN (");
    for (place, value) in values.into_iter().enumerate() {
        rows.push(if place > 0 { "), md5(" } else { "md5(" }).bind(value);
    }
    rows.push("))");
}

fn of_run(field: RunField, test: &Test) -> Option<Driver> {
    let equal = equals(test);
    let listed = |rows: &'static str, after: &'static str| {
        let mut leg = Leg::new("id", rows);
        leg.rows.list(equal.clone()?).push(after);
        Some(Driver::Leg(leg))
    };
    let ranged = |rows: &'static str, column: &'static str| {
        if *test == Test::Present {
            return Some(Driver::Leg(Leg::new("id", rows)));
        }
        range(Leg::new("id", rows), column, test)
    };
    match field {
        RunField::Id => listed("runs WHERE public_id IN ", ""),
        RunField::Name => listed("runs WHERE name IS NOT NULL AND name IN ", ""),
        RunField::State => listed("runs WHERE state IN ", ""),
        RunField::Experiment => {
            listed("runs WHERE experiment_id IN (SELECT id FROM experiments WHERE name IN ", ")")
        }
        RunField::Parent => listed(
            "runs WHERE parent_id IS NOT NULL \
             AND parent_id IN (SELECT id FROM runs WHERE public_id IN ",
            ")",
        ),
        RunField::Started => range(Leg::new("id", "runs WHERE true"), "started", test),
        RunField::Finished => ranged("runs WHERE finished IS NOT NULL", "finished"),
        RunField::Duration => range(
            Leg::new("id", "runs WHERE (finished - started) IS NOT NULL"),
            "(finished - started)",
            test,
        ),
        RunField::Starred => ranged("runs WHERE starred IS NOT NULL", "starred"),
        RunField::Archived => ranged("runs WHERE archived IS NOT NULL", "archived"),
        RunField::Deleted => ranged("runs WHERE deleted IS NOT NULL", "deleted"),
        _ => None,
    }
}

/// `leg`, bounded to where `column` passes `test`; `None` if that is no range.
fn range(mut leg: Leg, column: &'static str, test: &Test) -> Option<Driver> {
    let arg = |value: &Value| match value {
        Value::Number(number) => Arg::Float(*number),
        Value::Text(text) => Arg::Text(text.clone()),
        Value::Moment(micros) | Value::Duration(micros) => Arg::Int(*micros),
    };
    let sql = leg.rows.push(" AND ").push(column);
    match test {
        Test::Compare(operator, value) => {
            let operator = match operator {
                Comparison::Equal => " = ",
                Comparison::Less => " < ",
                Comparison::LessOrEqual => " <= ",
                Comparison::Greater => " > ",
                Comparison::GreaterOrEqual => " >= ",
                Comparison::NotEqual => return None,
            };
            sql.push(operator).bind(arg(value));
        }
        Test::Between { low, high, negated: false } => {
            sql.push(" BETWEEN ").bind(arg(low)).push(" AND ").bind(arg(high));
        }
        Test::In { values, negated: false } => {
            sql.push(" IN ").list(values.iter().map(arg));
        }
        _ => return None,
    }
    Some(Driver::Leg(leg))
}
