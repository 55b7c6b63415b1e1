//! [`Expander`]: plans the instances of stages whose list a run has made.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use wick_plan::{KnownList, Plan};

/// Checks a pipeline again, with what a run has found out. Made by who has the pipeline's text:
/// the engine has only its plan.
#[derive(Clone)]
pub struct Expander(Arc<Again>);

type Again = dyn Fn(Vec<KnownList>) -> Checked + Send + Sync;

/// A plan on its way, or what is wrong with the pipeline.
pub type Checked = Pin<Box<dyn Future<Output = Result<Plan, String>> + Send>>;

impl Expander {
    /// By `check`, which gives the plan of the same pipeline with these lists known, or says what
    /// is wrong with it.
    pub fn new(check: impl Fn(Vec<KnownList>) -> Checked + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    /// By `check`, which may take a while and read files: it runs on a thread of its own.
    pub fn blocking(
        check: impl Fn(&[KnownList]) -> Result<Plan, String> + Send + Sync + 'static,
    ) -> Self {
        let check = Arc::new(check);
        Self::new(move |lists| {
            let check = check.clone();
            Box::pin(async move {
                let checked = tokio::task::spawn_blocking(move || check(&lists)).await;
                checked.unwrap_or_else(|error| Err(error.to_string()))
            })
        })
    }

    /// The plan with `lists` known.
    pub(crate) async fn plan(&self, lists: Vec<KnownList>) -> Result<Plan, String> {
        (self.0)(lists).await
    }
}

impl fmt::Debug for Expander {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Expander")
    }
}
