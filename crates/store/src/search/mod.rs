//! Finding runs: a [`Search`] becomes SQL, for both databases alike.
//!
//! A filter is any condition over half a dozen tables, and neither database finds the quick way
//! through all of them by itself. So the way is chosen here ([`plan`]), from what a few bounded
//! counts say, and is the same on both: either the few runs that one condition lets through are
//! looked up and sorted, or the runs are walked in the order that is wanted until a page is full.
//!
//! Nothing that a person typed is ever part of a statement's text: it is bound ([`fragment`]).

mod columns;
mod condition;
mod driver;
mod fragment;
mod order;
mod plan;
mod query;
mod source;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

pub(crate) use fragment::{Arg, Dialect, Fragment};
pub(crate) use plan::{Found, find};
pub use query::{ColumnValue, RunPage, Search, Visible, Way};

use crate::error::StoreResult;
use crate::filter::{Expr, Field, MetricName};

/// What a column of an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Int,
    Float,
    Text,
}

/// A value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Float(f64),
    Text(String),
}

impl Cell {
    pub(crate) fn int(&self) -> Option<i64> {
        if let Cell::Int(int) = self { Some(*int) } else { None }
    }

    pub(crate) fn float(&self) -> Option<f64> {
        if let Cell::Float(float) = self { Some(*float) } else { None }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Cell::Text(text) = self { Some(text) } else { None }
    }
}

/// A database that answers questions made here.
pub(crate) trait Database: Sync {
    /// Which SQL it speaks.
    const DIALECT: Dialect;

    /// The rows of an answer, each with columns of these shapes.
    fn ask(
        &self,
        question: Fragment,
        shape: &[Shape],
    ) -> impl Future<Output = StoreResult<Vec<Vec<Cell>>>> + Send;

    /// How the database would answer, line by line, in its own words.
    fn plan(&self, question: Fragment) -> impl Future<Output = StoreResult<Vec<String>>> + Send;
}

/// A statement of a search, and how the database carries it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The statement, with `$1`, `$2`, … for its arguments.
    pub statement: String,
    /// Its plan, line by line, in the words of the database.
    pub plan: Vec<String>,
}

/// The statements by which `search` is answered.
pub(crate) async fn explain<D: Database>(database: &D, search: &Search) -> StoreResult<Vec<Step>> {
    let told = Told { database, steps: Mutex::default() };
    find(&told, search).await?;
    Ok(told.steps.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// A database that is asked for each plan, too.
struct Told<'a, D> {
    database: &'a D,
    steps: Mutex<Vec<Step>>,
}

impl<D: Database> Database for Told<'_, D> {
    const DIALECT: Dialect = D::DIALECT;

    async fn ask(&self, question: Fragment, shape: &[Shape]) -> StoreResult<Vec<Vec<Cell>>> {
        let plan = self.plan(question.clone()).await?;
        let step = Step { statement: question.clone().finish().0, plan };
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(step);
        self.database.ask(question, shape).await
    }

    async fn plan(&self, question: Fragment) -> StoreResult<Vec<String>> {
        self.database.plan(question).await
    }
}

/// What is known before a question is put together.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) dialect: Dialect,
    /// The ids of the metric keys that the question names, as far as there are such keys.
    keys: HashMap<String, i64>,
}

/// Rows that a metric's name may mean.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MetricMeaning {
    pub(crate) key: i64,
    /// Of this stage and its instances only.
    pub(crate) stage: Option<String>,
}

impl Context {
    /// Looks up what `search` names.
    pub(crate) async fn of<D: Database>(database: &D, search: &Search) -> StoreResult<Self> {
        let mut names = Vec::new();
        let fields = search.order.iter().map(|order| &order.field);
        for field in fields.chain(search.columns.iter().map(|column| &column.field)) {
            keys_of_field(field, &mut names);
        }
        if let Some(filter) = &search.filter {
            keys_of_expr(&filter.0, &mut names);
        }
        names.sort_unstable();
        names.dedup();
        let mut keys = HashMap::new();
        if !names.is_empty() {
            let mut question = Fragment::new("SELECT id, name FROM metric_keys WHERE name IN ");
            question.list(names.into_iter().map(|name| Arg::Text(name.to_owned())));
            for row in database.ask(question, &[Shape::Int, Shape::Text]).await? {
                if let (Some(id), Some(name)) = (row[0].int(), row[1].text()) {
                    keys.insert(name.to_owned(), id);
                }
            }
        }
        Ok(Self { dialect: D::DIALECT, keys })
    }

    /// What a metric's name means: a key of any stage, or a key of one. Empty if there is no such
    /// key.
    pub(crate) fn meanings(&self, name: &MetricName) -> Vec<MetricMeaning> {
        let whole = self.keys.get(&name.text).map(|key| MetricMeaning { key: *key, stage: None });
        let of_stage = name.stage_and_key().and_then(|(stage, key)| {
            let key = *self.keys.get(key)?;
            Some(MetricMeaning { key, stage: Some(stage.to_owned()) })
        });
        whole.into_iter().chain(of_stage).collect()
    }
}

fn keys_of_field<'a>(field: &'a Field, names: &mut Vec<&'a str>) {
    if let Field::Metric(name) = field {
        names.push(&name.text);
        names.extend(name.stage_and_key().map(|(_, key)| key));
    }
}

fn keys_of_expr<'a>(expr: &'a Expr, names: &mut Vec<&'a str>) {
    match expr {
        Expr::Always(_) => {}
        Expr::And(all) | Expr::Or(all) => all.iter().for_each(|expr| keys_of_expr(expr, names)),
        Expr::Not(inner) => keys_of_expr(inner, names),
        Expr::Is(condition) => keys_of_field(&condition.field, names),
    }
}
