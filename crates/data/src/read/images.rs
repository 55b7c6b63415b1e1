//! A folder of images: one subfolder for each class, PNG or JPEG.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageReader};
use polars::prelude::{
    DataFrame, IntoColumn, IntoSeries, NewChunkedArray, StringChunked, UInt8Chunked,
};
use schemars::JsonSchema;
use serde::Deserialize;
use wick_stage::{Column, ColumnType};

use crate::error::{DataError, DataResult};
use crate::rows::blocks;
use crate::values::natural_order;

/// No side of an image may be longer, and no decoded image larger than [`MOST_BYTES`].
const LONGEST_SIDE: u32 = 32_768;

/// See [`LONGEST_SIDE`].
const MOST_BYTES: u64 = 512 << 20;

/// The channels of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Color {
    /// One channel.
    Greyscale,
    /// Red, green and blue.
    #[default]
    Rgb,
}

impl Color {
    const fn channels(self) -> usize {
        match self {
            Color::Greyscale => 1,
            Color::Rgb => 3,
        }
    }
}

/// A folder of images, listed but not read.
pub struct ImageFolder {
    folder: PathBuf,
    // Class and file, by class in natural order, then by file.
    files: Vec<(String, PathBuf)>,
    shape: [usize; 3],
    color: Color,
}

impl ImageFolder {
    /// Lists the images in `folder`. Without `size` (height and width) all images must have the
    /// size of the first.
    ///
    /// # Errors
    /// If there are no classes or no images, or the first cannot be read.
    pub fn list(folder: &Path, size: Option<[usize; 2]>, color: Color) -> DataResult<Self> {
        let mut files = Vec::new();
        for class in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
            let name = text_of(&class)?;
            for file in entries(&class)?.into_iter().filter(|path| is_image(path)) {
                files.push((name.clone(), file));
            }
        }
        let Some((_, first)) = files.first() else {
            return Err(DataError::file(folder, "holds no images in folders")
                .help("put the images of each class into a folder of its own: `CLASS/NAME.png`"));
        };
        let [height, width] = match size {
            Some(size) => size,
            None => dimensions(first)?,
        };
        let shape = [height, width, color.channels()];
        Ok(Self { folder: folder.to_owned(), files, shape, color })
    }

    /// How many images.
    pub fn rows(&self) -> u64 {
        self.files.len() as u64
    }

    /// The columns of the table: `image`, `label`, and `file`, the path within the folder.
    pub fn columns(&self) -> Vec<Column> {
        let column = |name: &str, column_type| Column { name: name.to_owned(), column_type };
        vec![
            column("image", ColumnType::Bytes { shape: self.shape.to_vec() }),
            column("label", ColumnType::Text),
            column("file", ColumnType::Text),
        ]
    }

    /// Keeps only the first `rows` images.
    pub fn limit(&mut self, rows: u64) {
        self.files.truncate(usize::try_from(rows).unwrap_or(usize::MAX));
    }

    /// Reads the images on `threads` threads. The order does not depend on them.
    ///
    /// # Errors
    /// If an image cannot be read, or has another size.
    pub fn read(&self, threads: usize, resize: bool) -> DataResult<DataFrame> {
        let width: usize = self.shape.iter().product();
        let mut pixels = vec![0; width * self.files.len()];
        let share = self.files.len().div_ceil(threads.max(1)).max(1);
        thread::scope(|scope| {
            let shares: Vec<_> = self
                .files
                .chunks(share)
                .zip(pixels.chunks_mut(share * width.max(1)))
                .map(|(files, pixels)| {
                    scope.spawn(move || {
                        files.iter().zip(pixels.chunks_exact_mut(width.max(1))).try_for_each(
                            |((_, file), pixels)| self.read_image(file, resize, pixels),
                        )
                    })
                })
                .collect();
            shares.into_iter().try_for_each(|share| {
                share.join().map_err(|_| {
                    DataError::file(
                        &self.folder,
                        "an image could not be decoded: the decoder panicked",
                    )
                })?
            })
        })?;
        let labels = self.files.iter().map(|(class, _)| class.as_str());
        let labels = StringChunked::from_iter_values("label".into(), labels);
        let files = self
            .files
            .iter()
            .map(|(_, file)| file.strip_prefix(&self.folder).unwrap_or(file).to_string_lossy());
        let files = StringChunked::from_iter_values("file".into(), files);
        let images = blocks(UInt8Chunked::from_vec("image".into(), pixels).into_series(), width)?;
        DataFrame::new(self.files.len(), vec![images, labels.into_column(), files.into_column()])
            .map_err(|error| DataError::polars("make a table of images", error))
    }

    fn read_image(&self, file: &Path, resize: bool, pixels: &mut [u8]) -> DataResult {
        let image = decode(file)?;
        let [height, width, _] = self.shape;
        let same = image.height() as usize == height && image.width() as usize == width;
        if !same && !resize {
            return Err(DataError::file(
                file,
                format!(
                    "is {}×{} pixels, and the first image {height}×{width}",
                    image.height(),
                    image.width()
                ),
            )
            .help("give the size that all shall have: `size: [28, 28]`"));
        }
        let image = if same {
            image
        } else {
            image.resize_exact(width as u32, height as u32, FilterType::Triangle)
        };
        let bytes = match self.color {
            Color::Greyscale => image.into_luma8().into_raw(),
            Color::Rgb => image.into_rgb8().into_raw(),
        };
        pixels.copy_from_slice(&bytes);
        Ok(())
    }
}

/// The entries of a folder but the hidden ones, in natural order.
fn entries(folder: &Path) -> DataResult<Vec<PathBuf>> {
    let io = |error| DataError::io("read", folder, error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort_by(|left, right| natural_order(&left.to_string_lossy(), &right.to_string_lossy()));
    Ok(paths)
}

fn text_of(path: &Path) -> DataResult<String> {
    path.file_name().and_then(|name| name.to_str()).map(str::to_owned).ok_or_else(|| {
        DataError::file(path, "the name is not UTF-8").help("rename the folder of the class")
    })
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn reader(file: &Path) -> DataResult<ImageReader<std::io::BufReader<fs::File>>> {
    let io = |error| DataError::io("read", file, error);
    let mut reader =
        ImageReader::open(file).and_then(ImageReader::with_guessed_format).map_err(io)?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    Ok(reader)
}

fn not_an_image(file: &Path, error: image::ImageError) -> DataError {
    DataError::file(file, format!("is not an image that can be read: {error}"))
        .help("PNG and JPEG can; remove the file or write it again")
}

fn decode(file: &Path) -> DataResult<DynamicImage> {
    reader(file)?.decode().map_err(|error| not_an_image(file, error))
}

fn dimensions(file: &Path) -> DataResult<[usize; 2]> {
    let decoder = reader(file)?.into_decoder().map_err(|error| not_an_image(file, error))?;
    let (width, height) = decoder.dimensions();
    Ok([height as usize, width as usize])
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, RgbImage};

    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for class in ["cat", "dog"] {
            fs::create_dir(folder.path().join(class)).expect("made");
        }
        GrayImage::from_vec(2, 1, vec![0, 255])
            .expect("an image")
            .save(folder.path().join("cat/10.png"))
            .expect("saved");
        RgbImage::from_vec(2, 1, vec![9; 6])
            .expect("an image")
            .save(folder.path().join("cat/9.png"))
            .expect("saved");
        RgbImage::from_vec(2, 1, vec![7; 6])
            .expect("an image")
            .save(folder.path().join("dog/1.png"))
            .expect("saved");
        folder
    }

    #[test]
    fn classes_are_folders() {
        let folder = folder();
        let images = ImageFolder::list(folder.path(), None, Color::Greyscale).expect("listed");
        assert_eq!(images.rows(), 3);
        assert_eq!(images.columns()[0].column_type, ColumnType::Bytes { shape: vec![1, 2, 1] });
        let one = images.read(1, false).expect("read");
        let bytes = crate::byte_blocks(&one, "image").expect("bytes");
        assert_eq!(bytes.values, [9, 9, 0, 255, 7, 7]);
        assert_eq!(crate::labels(&one, "label", None).expect("labels").indices, [0, 0, 1]);
        assert!(images.read(7, false).expect("read").equals(&one));
    }

    #[test]
    fn sizes_must_agree_unless_one_is_given() {
        let folder = folder();
        RgbImage::new(4, 4).save(folder.path().join("dog/2.png")).expect("saved");
        let images = ImageFolder::list(folder.path(), None, Color::Rgb).expect("listed");
        let error = images.read(2, false).expect_err("refused");
        assert!(error.to_string().contains("is 4×4 pixels, and the first image 1×2"), "{error}");
        let images = ImageFolder::list(folder.path(), Some([2, 2]), Color::Rgb).expect("listed");
        assert_eq!(images.read(2, true).expect("read").height(), 4);
        fs::write(folder.path().join("dog/3.png"), b"\x89PNG\r\n\x1a\n").expect("written");
        let images = ImageFolder::list(folder.path(), Some([2, 2]), Color::Rgb).expect("listed");
        assert!(images.read(2, true).expect_err("refused").to_string().contains("dog/3.png"));
    }
}
