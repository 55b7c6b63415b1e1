//! Which experiment stores name artifacts of a remote.

use futures_util::StreamExt;
use object_store::ObjectStoreExt;

use super::Client;
use crate::error::ArtifactResult;
use crate::users::{User, note_name};

/// A note that is longer was not written here.
const MAX_NOTE: u64 = 8192;

impl Client {
    pub(super) async fn note_user(&self, name: &str) -> ArtifactResult<()> {
        let key = self.key(&["users", &note_name(name)]);
        let note = name.to_owned().into_bytes();
        self.store.put(&key, note.into()).await.map_err(self.failed("write", &key))?;
        Ok(())
    }

    pub(super) async fn users(&self) -> ArtifactResult<Vec<User>> {
        let folder = self.key(&["users"]);
        let mut notes = self.store.list(Some(&folder));
        let mut users = Vec::new();
        while let Some(note) = notes.next().await {
            let note = note.map_err(self.failed("list", &folder))?;
            if note.size > MAX_NOTE {
                continue;
            }
            let key = note.location;
            let content = async { self.store.get(&key).await?.bytes().await };
            let content = content.await.map_err(self.failed("read", &key))?;
            let name = String::from_utf8_lossy(&content).into_owned();
            let note = format!("{}://{}/{key}", self.place.scheme().as_str(), self.place.bucket());
            users.push(User { name, note });
        }
        users.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(users)
    }
}
