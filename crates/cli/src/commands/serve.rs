//! `wick serve`: a registered model over HTTP.

use std::sync::Arc;

use tokio::net::TcpListener;
use wick_serve::Served;

use crate::args::{GlobalArgs, ServeArgs};
use crate::error::{CommandResult, ExitCode, ResultExt};
use crate::model::find_model;
use crate::render::{Paint, Ui};

pub fn serve(args: &ServeArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_internal("cannot start the runtime")?
        .block_on(listen(args, global, ui))
}

async fn listen(args: &ServeArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let found = find_model(&args.model, global, ui).await?;
    let title = match found.version {
        Some(version) => format!("{} version {version}", found.name),
        None => found.name.clone(),
    };
    let served = tokio::task::spawn_blocking(move || {
        Served::load(&found.folder, found.name, found.version, found.digest)
    })
    .await
    .or_internal("loading the model was cut short")?
    .or_internal("cannot serve this model")?;
    let address = std::net::SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address)
        .await
        .or_invalid(format!("cannot listen on {address}"))
        .map_err(|error| error.hint("choose another port with --port; 0 takes any free one"))?;
    let address = listener.local_addr().or_internal("cannot tell the address")?;
    // On the standard output: with --port 0 a script reads the address from here.
    ui.print(format_args!("serving {title} on http://{address}"));
    let command = |text: String| ui.err.paint(Paint::Command, text);
    ui.note(format_args!("  {}", command(format!("curl http://{address}/model"))));
    ui.note(format_args!(
        "  {}",
        command(format!("curl http://{address}/predict -d '{{\"rows\": [{{…}}]}}'"))
    ));
    ui.note("Ctrl-C ends it");
    wick_serve::serve(listener, Arc::new(served), stopped()).await.or_internal("serving ended")?;
    ui.note("stopped");
    Ok(ExitCode::Success)
}

/// Done when someone asks the server to end.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    // Without a handler the signal ends the process, which is as well.
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
