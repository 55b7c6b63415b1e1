//! Which way to the runs of a search.
//!
//! *Driving*: one condition is in an index and lets few runs through; they are looked up, asked the
//! rest of the filter, and sorted. *Walking*: the index that is in the wanted order is followed, and
//! each run asked the whole filter, until the page is full. The first is quick where little is
//! found, the second where much is; how much is known from counts that stop at [`FEW`].
//!
//! Where the filter and the order are at odds (all that is found comes last in the order) a walk
//! would go far. So it has a budget, and driving comes after it.

use super::condition::exists_end;
use super::driver::{self, Driver, Leg};
use super::fragment::{Arg, Fragment};
use super::source::{key_of_run, of_stage};
use super::{ColumnValue, Search, Visible, Way};
use super::{Context, Database, Dialect, MetricMeaning, Shape, columns, condition, order};
use crate::error::StoreResult;
use crate::filter::{Expr, Field, Order, RunField};

/// So many runs are looked up one by one without a thought; counts stop here.
const FEW: i64 = 4_000;

/// How many rows a walk goes at least before it gives up.
const BUDGET: i64 = 5_000;

/// How many rows a walk goes for each run that is wanted: two conditions that each let a fifth of
/// the runs through fill a page in a fourth of it, and the rows of a metric may be those of several
/// stages. Driving by a common condition costs more than a walk of this length in vain.
const BUDGET_EACH: i64 = 150;

/// A page of runs, by their ids in the database.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) ids: Vec<i64>,
    pub(crate) more: bool,
    /// The values of the wanted columns, run by run.
    pub(crate) columns: Vec<Vec<Option<ColumnValue>>>,
}

/// The runs that `search` means.
pub(crate) async fn find<D: Database>(database: &D, search: &Search) -> StoreResult<Found> {
    let context = Context::of(database, search).await?;
    let limit = if search.limit == 0 { i64::MAX / 4 } else { i64::from(search.limit) };
    let finder = Finder {
        database,
        context: &context,
        filter: search.filter.as_ref().map(|filter| &filter.0),
        order: &search.order,
        visible: search.visible,
        way: search.way,
        offset: i64::from(search.offset),
        // One more than is shown tells whether there are more.
        limit: limit + 1,
    };
    let mut ids = finder.ids().await?;
    let more = search.limit > 0 && ids.len() > search.limit as usize;
    if more {
        ids.truncate(search.limit as usize);
    }
    let columns = columns::values(database, &context, &search.columns, &ids).await?;
    Ok(Found { ids, more, columns })
}

/// An order that an index is in.
enum Walk {
    /// Newest first.
    Newest,
    /// A column of runs.
    Column { column: &'static str, is_always_there: bool, descending: bool },
    /// The values of a metric.
    Metric { meaning: MetricMeaning, descending: bool },
    /// Params that are numbers.
    Param { name: String, descending: bool },
}

struct Finder<'a, D> {
    database: &'a D,
    context: &'a Context,
    filter: Option<&'a Expr>,
    order: &'a [Order],
    visible: Visible,
    way: Way,
    offset: i64,
    limit: i64,
}

impl<D: Database> Finder<'_, D> {
    async fn ids(&self) -> StoreResult<Vec<i64>> {
        let driver = Driver::of(self.context, self.filter, self.visible);
        let driven = match driver {
            None => None,
            Some(driver) => {
                let counts = match driver.counts(FEW) {
                    None => Vec::new(),
                    Some((question, count)) => {
                        let rows = self.database.ask(question, &vec![Shape::Int; count]).await?;
                        let row = rows.into_iter().next().unwrap_or_default();
                        row.iter().map(|cell| cell.int().unwrap_or(FEW)).collect()
                    }
                };
                Some(driver.choose(&mut counts.into_iter()))
            }
        };
        if let Some((legs, count)) = &driven
            && match self.way {
                Way::Quickest => *count < FEW,
                Way::Drive => true,
                Way::Walk => false,
            }
        {
            return self.drive(legs.clone()).await;
        }
        if let Some(walk) = self.walk() {
            // What a walk leaves out lies behind it; that there is any shows when it falls short.
            let is_whole = match &walk {
                Walk::Newest => true,
                Walk::Column { is_always_there, .. } => *is_always_there,
                Walk::Metric { .. } | Walk::Param { .. } => false,
            };
            let is_bounded = driven.is_some();
            let (found, is_cut) = self.follow(&walk, is_bounded).await?;
            if found.len() as i64 == self.limit || (is_whole && !is_cut) {
                return Ok(found);
            }
        }
        match driven {
            Some((legs, _)) => self.drive(legs).await,
            None => self.scan().await,
        }
    }

    /// The walk in the wanted order, if there is an index in it.
    fn walk(&self) -> Option<Walk> {
        let Some(Order { field, descending }) = self.order.first() else {
            return Some(Walk::Newest);
        };
        let descending = *descending;
        let column = |column: &'static str, is_always_there: bool| {
            Some(Walk::Column { column, is_always_there, descending })
        };
        match field {
            Field::Run(RunField::Started) => column("r.started", true),
            Field::Run(RunField::Finished) => column("r.finished", false),
            Field::Run(RunField::Duration) => column("(r.finished - r.started)", false),
            Field::Metric(name) => {
                let mut meanings = self.context.meanings(name);
                let meaning = meanings.pop()?;
                meanings.is_empty().then_some(Walk::Metric { meaning, descending })
            }
            Field::Param(name) => Some(Walk::Param { name: name.clone(), descending }),
            _ => None,
        }
    }

    /// Follows an index until the page is full; if it `is_bounded`, not for ever. Tells whether it
    /// ended before the index did.
    async fn follow(&self, walk: &Walk, is_bounded: bool) -> StoreResult<(Vec<i64>, bool)> {
        let mut bound = None;
        if is_bounded {
            let wanted = self.offset.saturating_add(self.limit);
            let budget = match self.way {
                Way::Walk => wanted,
                _ => wanted.saturating_mul(BUDGET_EACH).max(BUDGET),
            };
            bound = self.bound(walk, budget).await?;
        }
        let is_cut = bound.is_some();
        let mut sql = Fragment::new("SELECT r.id FROM ");
        self.index(&mut sql, walk);
        if let Some(bound) = bound {
            let (value, _, descending) = walk.key();
            sql.push(" AND ").push(value).push(if descending { " >= " } else { " <= " });
            sql.bind(bound);
        }
        self.conditions(&mut sql);
        if let Walk::Metric { meaning, descending } = walk {
            self.only_the_first(&mut sql, meaning, *descending);
        }
        let (value, id, descending) = walk.key();
        sql.push(" ORDER BY ");
        if !matches!(walk, Walk::Newest) {
            sql.push(value).push(if descending { " DESC, " } else { " ASC, " });
        }
        order::keys(&mut sql, self.context, self.order.get(1..).unwrap_or_default());
        sql.push(id).push(" DESC");
        self.page(&mut sql);
        Ok((self.ask(sql).await?, is_cut))
    }

    /// The value that the row at the end of the budget has; `None` if there are not so many rows.
    async fn bound(&self, walk: &Walk, budget: i64) -> StoreResult<Option<Arg>> {
        let (value, _, descending) = walk.key();
        let mut sql = Fragment::new("SELECT ");
        sql.push(value).push(" FROM ");
        // Of the index alone: it is only about how far to go.
        match walk {
            Walk::Metric { .. } | Walk::Param { .. } => {
                sql.push(self.table(walk)).push(" w WHERE ");
                self.range(&mut sql, walk);
            }
            Walk::Newest | Walk::Column { .. } => {
                self.index(&mut sql, walk);
                self.visible(&mut sql);
            }
        }
        sql.push(" ORDER BY ").push(value).push(if descending { " DESC" } else { " ASC" });
        sql.push(" LIMIT 1 OFFSET ").int(budget);
        let shape = match walk {
            Walk::Newest | Walk::Column { .. } => Shape::Int,
            Walk::Metric { .. } | Walk::Param { .. } => Shape::Float,
        };
        let rows = self.database.ask(sql, &[shape]).await?;
        Ok(rows.first().and_then(|row| match (row[0].int(), row[0].float()) {
            (Some(int), _) => Some(Arg::Int(int)),
            (_, Some(float)) => Some(Arg::Float(float)),
            _ => None,
        }))
    }

    /// What a walk follows, joined to `runs r`, up to a condition.
    fn index(&self, sql: &mut Fragment, walk: &Walk) {
        match walk {
            Walk::Newest => _ = sql.push("runs r WHERE true"),
            Walk::Column { column, .. } => {
                sql.push("runs r WHERE ").push(column).push(" IS NOT NULL");
            }
            Walk::Metric { .. } | Walk::Param { .. } => {
                // In this order: the planner of SQLite is told so, that of Postgres sees it in the
                // ORDER BY.
                sql.push(self.table(walk)).push(match self.context.dialect {
                    Dialect::Sqlite => " w CROSS JOIN runs r ON r.id = w.run_id WHERE ",
                    Dialect::Postgres => " w JOIN runs r ON r.id = w.run_id WHERE ",
                });
                self.range(sql, walk);
                if let Walk::Metric { meaning, .. } = walk {
                    of_stage(sql, self.context.dialect, meaning, "w");
                }
            }
        }
    }

    fn table(&self, walk: &Walk) -> &'static str {
        match walk {
            Walk::Newest | Walk::Column { .. } => "runs",
            Walk::Metric { .. } => "run_metrics",
            Walk::Param { .. } => "params",
        }
    }

    /// The part of an index that is walked, in `w`.
    fn range(&self, sql: &mut Fragment, walk: &Walk) {
        match walk {
            Walk::Metric { meaning, .. } => {
                sql.push("w.key_id = ").int(meaning.key).push(match self.context.dialect {
                    Dialect::Sqlite => " AND w.value IS NOT NULL",
                    Dialect::Postgres => " AND w.value < 'NaN'",
                });
            }
            Walk::Param { name, .. } => {
                sql.push("w.name = ").text(name).push(" AND w.number IS NOT NULL");
            }
            Walk::Newest | Walk::Column { .. } => {}
        }
    }

    /// Of several stages that measured the metric, the value that comes first counts.
    fn only_the_first(&self, sql: &mut Fragment, meaning: &MetricMeaning, descending: bool) {
        // Of the run rather than of the row, so that it is asked last.
        sql.push(" AND NOT EXISTS (SELECT 1 FROM run_metrics v WHERE v.run_id = r.id AND ");
        sql.push(key_of_run(self.context.dialect));
        sql.push("v.key_id = w.key_id AND v.position <> w.position");
        of_stage(sql, self.context.dialect, meaning, "v");
        let is_better =
            if descending { " AND (v.value > w.value" } else { " AND (v.value < w.value" };
        sql.push(is_better).push(" OR (v.value = w.value AND v.position < w.position))");
        if self.context.dialect == Dialect::Postgres {
            sql.push(" AND v.value < 'NaN'");
        }
        sql.push(exists_end(self.context.dialect));
    }

    /// Looks up the runs that `legs` name.
    async fn drive(&self, legs: Vec<Leg>) -> StoreResult<Vec<i64>> {
        let mut sql = Fragment::default();
        match self.context.dialect {
            Dialect::Sqlite => {
                // A list is sorted: what belongs to neighbours lies on the same pages.
                sql.push("SELECT r.id FROM runs r NOT INDEXED WHERE r.id IN (");
                sql.append(driver::runs(legs)).push(")");
            }
            Dialect::Postgres => {
                sql.push("WITH few (run) AS MATERIALIZED (").append(driver::runs(legs));
                sql.push(") SELECT r.id FROM few JOIN runs r ON r.id = few.run WHERE true");
            }
        }
        self.sorted(sql).await
    }

    /// Asks every run.
    async fn scan(&self) -> StoreResult<Vec<i64>> {
        self.sorted(Fragment::new("SELECT r.id FROM runs r WHERE true")).await
    }

    async fn sorted(&self, mut sql: Fragment) -> StoreResult<Vec<i64>> {
        self.conditions(&mut sql);
        sql.push(" ORDER BY ");
        order::keys(&mut sql, self.context, self.order);
        sql.push("r.id DESC");
        self.page(&mut sql);
        self.ask(sql).await
    }

    fn visible(&self, sql: &mut Fragment) {
        sql.push(match self.visible {
            Visible::Live => " AND r.archived IS NULL AND r.deleted IS NULL",
            Visible::Archived => " AND r.archived IS NOT NULL AND r.deleted IS NULL",
            Visible::Deleted => " AND r.deleted IS NOT NULL",
            Visible::All => "",
        });
    }

    fn conditions(&self, sql: &mut Fragment) {
        self.visible(sql);
        if let Some(filter) = self.filter {
            sql.push(" AND ");
            condition::expr(sql, self.context, filter);
        }
    }

    fn page(&self, sql: &mut Fragment) {
        sql.push(" LIMIT ").int(self.limit).push(" OFFSET ").int(self.offset);
    }

    async fn ask(&self, sql: Fragment) -> StoreResult<Vec<i64>> {
        let rows = self.database.ask(sql, &[Shape::Int]).await?;
        Ok(rows.iter().filter_map(|row| row[0].int()).collect())
    }
}

impl Walk {
    /// What it is ordered by, the run, and whether the greatest come first.
    fn key(&self) -> (&'static str, &'static str, bool) {
        match self {
            Walk::Newest => ("r.id", "r.id", true),
            Walk::Column { column, descending, .. } => (column, "r.id", *descending),
            Walk::Metric { descending, .. } => ("w.value", "w.run_id", *descending),
            Walk::Param { descending, .. } => ("w.number", "w.run_id", *descending),
        }
    }
}
