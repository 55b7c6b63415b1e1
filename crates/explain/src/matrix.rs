//! Rows of numbers, as methods pass them to a network.

/// A floating-point number: methods are written once for the networks' f32 and for f64.
pub trait Real: Copy + Send + Sync + 'static {
    /// The nearest value.
    fn from_f64(value: f64) -> Self;
    /// The value.
    fn to_f64(self) -> f64;
}

impl Real for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }
    fn to_f64(self) -> f64 {
        self
    }
}

/// Numbers row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix<T> {
    width: usize,
    values: Vec<T>,
}

impl<T: Real> Matrix<T> {
    /// No rows of `width`, which is at least 1, with room for `rows`.
    pub fn with_capacity(rows: usize, width: usize) -> Self {
        Self { width: width.max(1), values: Vec::with_capacity(rows * width) }
    }

    /// Rows of `width` from values row by row; `None` if they are not whole rows.
    pub fn new(width: usize, values: Vec<T>) -> Option<Self> {
        (width > 0 && values.len().is_multiple_of(width)).then_some(Self { width, values })
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// How many columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All values, row by row.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// All values, row by row.
    pub fn into_values(self) -> Vec<T> {
        self.values
    }

    /// A row.
    pub fn row(&self, row: usize) -> &[T] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    /// A row, to change.
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        &mut self.values[row * self.width..(row + 1) * self.width]
    }

    /// Row by row.
    pub fn iter(&self) -> impl Iterator<Item = &[T]> {
        self.values.chunks_exact(self.width)
    }

    /// A column.
    pub fn column(&self, column: usize) -> impl Iterator<Item = T> + '_ {
        self.iter().map(move |row| row[column])
    }

    /// Adds a row, which must be as wide as the others.
    pub fn push(&mut self, row: &[T]) {
        debug_assert_eq!(row.len(), self.width);
        self.values.extend_from_slice(row);
    }

    /// Takes all rows away and keeps the memory.
    pub fn clear(&mut self) {
        self.values.clear();
    }

    /// The mean of each column.
    pub fn column_means(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.width];
        for row in self.iter() {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value.to_f64());
        }
        let rows = self.rows().max(1) as f64;
        sums.into_iter().map(|sum| sum / rows).collect()
    }
}
