//! From candle's tensors to slices and back.

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, bail};

/// Whether the kernels of this folder can take these: `f32` on the CPU. Others go through
/// [`composed`](super::composed).
pub(super) fn has_kernels(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| t.device().is_cpu() && t.dtype() == DType::F32)
}

/// The values behind a contiguous layout.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => bail!("the tensor's values are not contiguous"),
    }
}

/// Hands a tensor's values to `read`.
pub(super) fn with_values<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => read(slice(storage, layout)?),
        _ => bail!("the tensor is not on the CPU"),
    }
}

/// A bias of zeros that no gradient is kept for, where there is none.
pub(super) fn bias_or_zeros(bias: Option<&Tensor>, weight: &Tensor) -> Result<Tensor> {
    match bias {
        Some(bias) => bias.contiguous(),
        None => Tensor::zeros(weight.dim(0)?, weight.dtype(), weight.device()),
    }
}
