//! `wick store`: what is done with a store as a whole, one file each.

mod bytes;
mod check;
mod copy;
mod migrate;
mod status;

use crate::args::{GlobalArgs, StoreArgs, StoreCommand};
use crate::error::CommandResult;
use crate::render::Ui;

pub async fn store(args: &StoreArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    match &args.command {
        StoreCommand::Check(args) => check::check(args, global, ui).await,
        StoreCommand::Copy(args) => copy::copy(args, global, ui).await,
        StoreCommand::Backup(args) => copy::backup(args, global, ui).await,
        StoreCommand::Status(args) => status::status(args, global, ui).await,
        StoreCommand::Migrate(args) => migrate::migrate(args, global, ui).await,
    }
}
