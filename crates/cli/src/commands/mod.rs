//! What the commands do, one file each. A command reads its arguments, asks the libraries, and
//! hands what it got to a view; how the process ends is told by what it returns.

mod artifacts;
mod best;
mod cancel;
mod check;
mod compare;
mod completions;
mod diff;
mod doctor;
mod export;
mod gc;
mod history;
mod import;
mod init;
mod kinds;
mod lineage;
mod logs;
mod marks;
mod metrics;
mod models;
mod plan;
mod predict;
mod rerun;
mod run;
mod runs;
mod schema;
mod serve;
mod show;
mod sql;
mod store;
mod trend;
mod up;

use std::future::Future;

use crate::args::{Cli, Command};
use crate::error::{CommandResult, ExitCode, ResultExt};
use crate::render::Ui;

pub use models::no_such_model;

/// Does what was typed.
pub fn dispatch(cli: &Cli, ui: &Ui) -> CommandResult {
    let global = &cli.global;
    match &cli.command {
        Command::Init(args) => init::init(args, ui),
        Command::Check(args) => check::check(args, global, ui),
        Command::Plan(args) => block_on(plan::plan(args, global, ui)),
        Command::Run(args) => block_on(run::run(args, global, ui)),
        Command::Rerun(args) => block_on(rerun::rerun(args, global, ui)),
        Command::Cancel(args) => block_on(cancel::cancel(args, global, ui)),
        Command::Up(args) => block_on(up::up(args, global, ui)),
        Command::Runs(args) => block_on(runs::runs(args, global, ui)),
        Command::Best(args) => block_on(best::best(args, global, ui)),
        Command::Show(args) => block_on(show::show(args, global, ui)),
        Command::Logs(args) => block_on(logs::logs(args, global, ui)),
        Command::Metrics(args) => block_on(metrics::metrics(args, global, ui)),
        Command::Compare(args) => block_on(compare::compare(args, global, ui)),
        Command::Diff(args) => block_on(diff::diff(args, global, ui)),
        Command::History(args) => block_on(history::history(args, global, ui)),
        Command::Sql(args) => block_on(sql::sql(args, global, ui)),
        Command::Export(args) => block_on(export::export(args, global, ui)),
        Command::Import(args) => block_on(import::import(args, global, ui)),
        Command::Trend(args) => block_on(trend::trend(args, global, ui)),
        Command::Lineage(args) => block_on(lineage::lineage(args, global, ui)),
        Command::Name(args) => block_on(marks::name(args, global, ui)),
        Command::Note(args) => block_on(marks::note(args, global, ui)),
        Command::Tag(args) => block_on(marks::tag(args, global, ui)),
        Command::Star(args) => block_on(marks::star(args, global, ui)),
        Command::Archive(args) => block_on(marks::archive(args, global, ui)),
        Command::Delete(args) => block_on(marks::delete(args, global, ui)),
        Command::Restore(args) => block_on(marks::restore(args, global, ui)),
        Command::Gc(args) => block_on(gc::gc(args, global, ui)),
        Command::Store(args) => block_on(store::store(args, global, ui)),
        Command::Artifacts(args) => block_on(artifacts::artifacts(args, global, ui)),
        Command::Models(args) => block_on(models::models(args, global, ui)),
        Command::Predict(args) => predict::predict(args, global, ui),
        Command::Serve(args) => serve::serve(args, global, ui),
        Command::Kinds(args) => kinds::kinds(args, ui),
        Command::Schema(args) => schema::schema(args, ui),
        Command::Completions(args) => completions::completions(args, ui),
        Command::Doctor(args) => block_on(doctor::doctor(args, global, ui)),
        // Both are answered in `main`, before anything is set up for people.
        Command::Worker(_) | Command::Supervisor => Ok(ExitCode::Success),
    }
}

/// Runs a command that waits. One thread is enough: whoever computes does so in processes or
/// threads of its own.
pub fn block_on<T>(command: impl Future<Output = CommandResult<T>>) -> CommandResult<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_internal("cannot start the runtime")?
        .block_on(command)
}
