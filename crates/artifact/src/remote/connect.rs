//! A client for a place: who may read and write there is told by the environment.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::error::Failed;
use crate::error::{ArtifactError, ArtifactResult};
use crate::place::{RemotePlace, Scheme};

/// One request with its answer: a part of a file at most, so that even a slow line is enough.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A request is tried so often again where the server or the line is to blame.
const MAX_RETRIES: usize = 5;

/// And no more after this time.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// A client for `place`. Nothing is sent yet.
pub(super) fn connect(place: &RemotePlace) -> ArtifactResult<Arc<dyn ObjectStore>> {
    let made: Result<Arc<dyn ObjectStore>, object_store::Error> = match place.scheme() {
        Scheme::S3 => s3(place),
        Scheme::Google => google(place),
        Scheme::Azure => azure(place),
        Scheme::Folder => {
            let folder = format!("/{}", place.prefix());
            fs::create_dir_all(&folder).map_err(ArtifactError::io("make", &folder))?;
            LocalFileSystem::new_with_prefix(&folder).map(|store| Arc::new(store) as _)
        }
    };
    made.map_err(|error| Failed { place, action: "use", key: None }.error(error))
}

/// What stands before every key.
pub(super) fn root(place: &RemotePlace) -> Path {
    match place.scheme() {
        // The client stands in the folder.
        Scheme::Folder => Path::default(),
        _ => Path::from(place.prefix()),
    }
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(5),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: MAX_RETRIES, retry_timeout: RETRY_TIMEOUT }
}

fn options(endpoint: Option<&str>) -> ClientOptions {
    ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        // Who writes `http://` means it: a server on this machine or in its own network.
        .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")))
}

fn s3(place: &RemotePlace) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder =
        AmazonS3Builder::from_env().with_bucket_name(place.bucket()).with_retry(retry());
    if let Some(endpoint) = place.endpoint() {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = place.region() {
        builder = builder.with_region(region);
    }
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let builder = builder.with_client_options(options(endpoint.as_deref()));
    Ok(Arc::new(builder.build()?))
}

fn google(place: &RemotePlace) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(place.bucket())
        .with_retry(retry())
        .with_client_options(options(place.endpoint()));
    if let Some(endpoint) = place.endpoint() {
        builder = builder.with_base_url(endpoint);
    }
    Ok(Arc::new(builder.build()?))
}

fn azure(place: &RemotePlace) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder =
        MicrosoftAzureBuilder::from_env().with_container_name(place.bucket()).with_retry(retry());
    if let Some(endpoint) = place.endpoint() {
        builder = builder.with_endpoint(endpoint.to_owned());
    }
    let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
    let builder = builder.with_client_options(options(endpoint.as_deref()));
    Ok(Arc::new(builder.build()?))
}
