//! Whether a place can be written, read and cleared.

use std::time::{Duration, Instant};

use object_store::ObjectStoreExt;

use super::Client;
use crate::error::{ArtifactError, ArtifactResult};

const CONTENT: &[u8] = b"wick looked whether it can write here; this can be removed\n";

impl Client {
    pub(super) async fn probe(&self) -> ArtifactResult<Duration> {
        let began = Instant::now();
        // Two machines that look at once do not meet.
        let name = format!("{}-{:?}", std::process::id(), std::time::SystemTime::now());
        let name = blake3::hash(name.as_bytes()).to_hex();
        let key = self.key(&["probe", &name[..16]]);
        self.store.put(&key, CONTENT.into()).await.map_err(self.failed("write", &key))?;
        let read = async { self.store.get(&key).await?.bytes().await };
        let read = read.await.map_err(self.failed("read", &key));
        let removed = self.store.delete(&key).await.map_err(self.failed("remove", &key));
        if read? != CONTENT {
            let error = std::io::Error::other("it is not what was written");
            return Err(ArtifactError::io("read", key.as_ref())(error));
        }
        removed.map(|()| began.elapsed())
    }
}
