//! Models on disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use wick_data::Transform;
use wick_stage::layout;

use super::{MODEL_VERSION, Model, ModelInfo};
use crate::error::{NnError, NnResult};
use crate::packed::{self, Packed, StoredTensor};

impl Model {
    /// Reads the model in `folder`.
    ///
    /// # Errors
    /// If a file is missing or not of this version's format.
    pub fn load(folder: impl AsRef<Path>) -> NnResult<Self> {
        let folder = folder.as_ref();
        let path = folder.join(layout::MODEL_INFO);
        let info = read_info(&path, &read(&path)?)?;
        let path = folder.join(layout::MODEL_WEIGHTS);
        let weights = weights_from_bytes(&path, &read(&path)?)?;
        let path = folder.join(layout::TRANSFORM);
        let transform = if path.exists() { Some(Transform::read(&path)?) } else { None };
        Self::new(info, weights, transform)
    }

    /// Writes the model into the existing `folder`. Equal models give equal bytes.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> NnResult {
        self.save_packed(folder, |_| None)
    }

    /// Like [`Model::save`], with some weights packed: those for whose name `storage` tells how.
    /// A model that is loaded again has the values that the packed weights stand for.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save_packed(
        &self,
        folder: impl AsRef<Path>,
        storage: impl Fn(&str) -> Option<packed::Storage>,
    ) -> NnResult {
        let folder = folder.as_ref();
        let path = folder.join(layout::MODEL_INFO);
        let mut json = serde_json::to_vec_pretty(&self.info).map_err(|error| NnError::File {
            verb: "write",
            path: path.clone(),
            source: error.into(),
        })?;
        json.push(b'\n');
        write(&path, &json)?;
        let path = folder.join(layout::MODEL_WEIGHTS);
        write(&path, &weights_to_bytes(&path, &self.weights, storage)?)?;
        if let Some(transform) = &self.transform {
            transform.write(&folder.join(layout::TRANSFORM))?;
        }
        Ok(())
    }
}

/// Reads `model.json`: the version first, since a later format need not parse as this one.
fn read_info(path: &Path, json: &[u8]) -> NnResult<ModelInfo> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let format = |message: String| NnError::Format { path: path.to_owned(), message };
    let Version { version } =
        serde_json::from_slice(json).map_err(|error| format(error.to_string()))?;
    if version != MODEL_VERSION {
        return Err(format(format!("it has version {version}, not {MODEL_VERSION}")));
    }
    serde_json::from_slice(json).map_err(|error| format(error.to_string()))
}

fn weights_from_bytes(path: &Path, bytes: &[u8]) -> NnResult<BTreeMap<String, Tensor>> {
    let format = |message: String| NnError::Format { path: path.to_owned(), message };
    let file =
        safetensors::SafeTensors::deserialize(bytes).map_err(|error| format(error.to_string()))?;
    let mut weights = BTreeMap::new();
    for name in packed::packed_names(&file) {
        let packed = packed::read(&name, &file).map_err(|error| format(error.to_string()))?;
        let values = packed.unpack(&name).map_err(|error| format(error.to_string()))?;
        let weight = Tensor::from_vec(values, packed.shape.as_slice(), &Device::Cpu)?;
        weights.insert(name, weight);
    }
    // Only the parts of a packed weight have a `#` in their names.
    for (name, view) in file.tensors().into_iter().filter(|(name, _)| !name.contains('#')) {
        if view.dtype() != Dtype::F32 {
            return Err(format(format!("the weight `{name}` is {:?}, not F32", view.dtype())));
        }
        let values: Vec<f32> =
            view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        weights.insert(name, Tensor::from_vec(values, view.shape(), &Device::Cpu)?);
    }
    Ok(weights)
}

/// The weights in the safetensors format, by name: the bytes depend on the weights alone.
fn weights_to_bytes(
    path: &Path,
    weights: &BTreeMap<String, Tensor>,
    storage: impl Fn(&str) -> Option<packed::Storage>,
) -> NnResult<Vec<u8>> {
    let mut stored: BTreeMap<String, StoredTensor> = BTreeMap::new();
    for (name, weight) in weights {
        let values = weight.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let shape = weight.dims().to_vec();
        match storage(name) {
            Some(storage) => {
                packed::store(name, &Packed::pack(&values, &shape, storage), &mut stored);
            }
            None => {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                stored.insert(name.clone(), StoredTensor { dtype: Dtype::F32, shape, bytes });
            }
        }
    }
    let write_error = |error: safetensors::SafeTensorError| NnError::File {
        verb: "write",
        path: path.to_owned(),
        source: std::io::Error::other(error),
    };
    let mut views = Vec::with_capacity(stored.len());
    for (name, tensor) in &stored {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        views.push((name.as_str(), view.map_err(write_error)?));
    }
    safetensors::serialize(views, None).map_err(write_error)
}

fn read(path: &Path) -> NnResult<Vec<u8>> {
    std::fs::read(path).map_err(|source| NnError::File {
        verb: "read",
        path: path.to_owned(),
        source,
    })
}

/// Writes under a temporary name and renames: whoever reads sees the old file or the new one,
/// even one that maps it into memory.
fn write(path: &Path, bytes: &[u8]) -> NnResult {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".partial");
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|source| NnError::File { verb: "write", path: path.to_owned(), source })
}
