//! Small raster images inside a drawing, as PNG in a data URI.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;

/// An image of 8-bit red, green and blue, row by row from the top left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Pixels {
    /// An image from grey values between 0 and 1, row by row. What is missing is black.
    pub fn grey(width: usize, height: usize, values: &[f32]) -> Self {
        let rgb = (0..width * height)
            .flat_map(|place| [byte(values.get(place).copied().unwrap_or(0.0)); 3])
            .collect();
        Self { width, height, rgb }
    }

    /// An image from red, green and blue between 0 and 1, interleaved. What is missing is black.
    pub fn rgb(width: usize, height: usize, values: &[f32]) -> Self {
        let rgb = (0..width * height * 3)
            .map(|place| byte(values.get(place).copied().unwrap_or(0.0)))
            .collect();
        Self { width, height, rgb }
    }

    /// Signed values over a faded image: blue speaks for, red against, as in bars. One value for each
    /// pixel; the largest absolute one gets the full colour.
    #[must_use]
    pub fn overlaid(&self, values: &[f64]) -> Self {
        let largest = largest(values);
        let mut rgb = Vec::with_capacity(self.rgb.len());
        for (place, colour) in self.rgb.chunks_exact(3).enumerate() {
            let grey = colour.iter().map(|part| f64::from(*part)).sum::<f64>() / 3.0;
            // Inverted and faded: bright strokes stay visible, and both colours stand out on all.
            let ground = 255.0 - grey * 0.28;
            let value = values.get(place).copied().unwrap_or(0.0);
            let share = if largest > 0.0 { (value / largest).clamp(-1.0, 1.0) } else { 0.0 };
            let share = if share.is_nan() { 0.0 } else { share };
            let target = if share >= 0.0 { [0.0, 98.0, 168.0] } else { [179.0, 38.0, 30.0] };
            // The square root lifts faint values into sight.
            let weight = share.abs().sqrt();
            rgb.extend(target.map(|part| {
                let mixed: f64 = ground + (part - ground) * weight;
                mixed.round().clamp(0.0, 255.0) as u8
            }));
        }
        Self { width: self.width, height: self.height, rgb }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The image as a PNG (W3C PNG specification, third edition: colour type 2, filter 0).
    pub fn png(&self) -> Vec<u8> {
        let mut scanlines = Vec::with_capacity(self.height * (1 + self.width * 3));
        for row in self.rgb.chunks_exact((self.width * 3).max(1)) {
            scanlines.push(0);
            scanlines.extend_from_slice(row);
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        // Writing into memory cannot fail; an empty stream would only show nothing.
        let _ = encoder.write_all(&scanlines);
        let data = encoder.finish().unwrap_or_default();

        let mut header = Vec::with_capacity(13);
        header.extend((self.width as u32).to_be_bytes());
        header.extend((self.height as u32).to_be_bytes());
        header.extend([8, 2, 0, 0, 0]);
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for (name, bytes) in [(b"IHDR", header), (b"IDAT", data), (b"IEND", Vec::new())] {
            png.extend((bytes.len() as u32).to_be_bytes());
            png.extend(name);
            png.extend(&bytes);
            let mut crc = flate2::Crc::new();
            crc.update(name);
            crc.update(&bytes);
            png.extend(crc.sum().to_be_bytes());
        }
        png
    }

    pub(crate) fn data_uri(&self) -> String {
        format!("data:image/png;base64,{}", STANDARD.encode(self.png()))
    }
}

fn byte(value: f32) -> u8 {
    (value * 255.0).round().clamp(0.0, 255.0) as u8
}

fn largest(values: &[f64]) -> f64 {
    values.iter().map(|value| value.abs()).filter(|value| value.is_finite()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::ZlibDecoder;
    use std::io::Read;

    #[test]
    fn a_png_holds_its_pixels() {
        let png = Pixels::grey(2, 1, &[0.0, 1.0]).png();
        assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
        let start = png.windows(4).position(|name| name == b"IDAT").expect("data") + 4;
        let mut rows = Vec::new();
        ZlibDecoder::new(&png[start..]).read_to_end(&mut rows).expect("a zlib stream");
        assert_eq!(rows, [0, 0, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn what_speaks_for_is_blue() {
        let over = Pixels::grey(3, 1, &[0.0; 3]).overlaid(&[1.0, -1.0, f64::NAN]);
        assert_eq!(over.rgb[..3], [0, 98, 168]);
        assert_eq!(over.rgb[3..6], [179, 38, 30]);
        assert_eq!(over.rgb[6], over.rgb[8]);
    }
}
