//! `wick lineage`: where bytes came from, back to the files, the code and the params; and what
//! became of them, in every run.

mod find;
mod graph;
mod picture;
mod trace;
mod tree;

use std::fs;

use serde_json::json;

use crate::args::{GlobalArgs, LineageArgs, LineageFormat};
use crate::error::{CommandResult, ExitCode, ResultExt};
use crate::render::{Paint, Ui};
use crate::session::Session;

use find::What;
use graph::Graph;
use trace::{Bounds, Tracer};
use tree::Way;

pub async fn lineage(args: &LineageArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let what = find::find(&session, &args.what).await?;
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let tracer = Tracer::new(&*session.store, Bounds { depth: args.depth, stages: limit });
    // A file outside the store comes from nowhere that is known; what was made of it is asked.
    let forward = args.forward || matches!(what, What::Source(..));
    let (graph, way) = match forward {
        true => (tracer.forward(&what).await?, Way::Forward),
        false => (tracer.back(&what).await?, Way::Back),
    };
    let title = match way {
        Way::Back => format!("What {} came from", args.what),
        Way::Forward => format!("What became of {}", args.what),
    };
    let drawn = match args.output {
        LineageFormat::Tree => {
            for line in tree::lines(ui, &graph, way) {
                ui.print(line);
            }
            if forward && !args.forward {
                ui.note(ui.err.paint(Paint::Faint, "a file outside the store: what became of it"));
            }
            return Ok(ExitCode::Success);
        }
        LineageFormat::Json => {
            ui.json(&to_json(args, &graph, way))?;
            return Ok(ExitCode::Success);
        }
        LineageFormat::Svg => picture::svg(&graph, &title),
        LineageFormat::Dot => picture::dot(&graph, &title),
    };
    match &args.write {
        Some(path) => {
            fs::write(path, drawn).or_invalid(format!("cannot write {}", path.display()))?;
            ui.note(format_args!("wrote {}", path.display()));
        }
        None => ui.write(drawn.as_bytes()),
    }
    Ok(ExitCode::Success)
}

fn to_json(args: &LineageArgs, graph: &Graph, way: Way) -> serde_json::Value {
    let nodes = graph.nodes.iter().enumerate();
    let nodes = nodes.map(|(id, node)| node.to_json(id, graph.cut.contains(&id)));
    let edges =
        graph.edges.iter().map(|edge| json!({"from": edge.from, "to": edge.to, "port": edge.port}));
    json!({
        "version": 1,
        "what": args.what,
        "way": if way == Way::Back { "back" } else { "forward" },
        "roots": graph.roots,
        "nodes": nodes.collect::<Vec<_>>(),
        "edges": edges.collect::<Vec<_>>(),
    })
}
