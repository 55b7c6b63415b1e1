//! `wick predict`: scores a table with a model.

use wick_data::read_table;
use wick_nn::Model;
use wick_serve::request::Rows;

use super::block_on;
use crate::args::{GlobalArgs, PredictArgs};
use crate::error::{CommandError, CommandResult, ExitCode, ResultExt};
use crate::model::find_model;
use crate::render::{Ui, human};

pub fn predict(args: &PredictArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    // What is computed below must not run inside the runtime that asks the store.
    let found = block_on(find_model(&args.model, global, ui))?;
    if !args.data.is_file() {
        return Err(CommandError::invalid(format!("there is no file {}", args.data.display())));
    }
    let model = Model::load(&found.folder).or_internal("cannot load the model")?;
    let mut table =
        read_table(&args.data).or_invalid(format!("cannot read {}", args.data.display()))?;
    let predictions = model
        .encode_raw(&table)
        .and_then(|inputs| model.predict(&inputs))
        .or_invalid(format!("{} does not fit the model {}", args.data.display(), found.name))
        .map_err(|error| {
            let columns: Vec<String> =
                Rows::columns(&model).into_iter().map(|column| column.name).collect();
            error.hint(format!("the model reads the columns {}", columns.join(", ")))
        })?;
    wick_nn::add_predictions(&mut table, &predictions, args.probabilities)
        .or_internal("cannot add the predictions")?;
    match &args.output {
        Some(path) => {
            wick_data::write_table(path, &mut table)
                .or_invalid(format!("cannot write {}", path.display()))?;
            ui.note(format_args!(
                "wrote {} with {} to {}",
                human::plural(predictions.rows, "row"),
                human::plural(table.width(), "column"),
                path.display()
            ));
        }
        None => ui.write(&wick_data::csv_text(&mut table).or_internal("cannot write the table")?),
    }
    Ok(ExitCode::Success)
}
