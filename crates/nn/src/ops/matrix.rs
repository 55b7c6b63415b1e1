//! Matrix products of `f32`, by tiles whose sums stay in registers.
//!
//! Every element of a product is summed in one order that depends on the shape alone, however the
//! work is split: so products are the same on any number of threads.

use super::parallel::{Scratch, Shared, for_each};
use super::simd::{Lanes, Level, dispatch};

/// Vectors in a tile's row.
const TILE_VECTORS: usize = 3;

/// How many terms of the sums are taken at a time: a packed panel of the right matrix then lies in
/// the second-level cache.
const DEPTH: usize = 512;

/// How many multiplications make a piece worth handing to a thread.
const PIECE_COST: usize = 200_000;

/// A matrix read element by element: `values[row * row_stride + column * column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

/// Whether a product replaces what is there or is added to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Into {
    Replace,
    Add,
}

/// One tile: `rows × vectors` sums over `depth` terms. `tail` is the number of columns that count
/// in the last vector; where `PACKED`, the right matrix has whole vectors all the same.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a kernel takes pointers and sizes")]
unsafe fn tile<S: Lanes, const ROWS: usize, const VECTORS: usize>(
    depth: usize,
    a: *const f32,
    a_row: usize,
    a_column: usize,
    b: *const f32,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    tail: usize,
    packed: bool,
    add: bool,
) {
    // SAFETY: the caller vouches for the shapes.
    unsafe {
        let mut sums = [[S::zero(); VECTORS]; ROWS];
        let whole = packed || tail == S::LANES;
        let mut b = b;
        let mut a = a;
        for _ in 0..depth {
            let mut right = [S::zero(); VECTORS];
            for (v, lanes) in right.iter_mut().enumerate() {
                let from = b.add(v * S::LANES);
                *lanes = if v + 1 < VECTORS || whole {
                    S::load(from)
                } else {
                    S::load_first(from, tail)
                };
            }
            for (r, row) in sums.iter_mut().enumerate() {
                let left = S::splat(*a.add(r * a_row));
                for (sum, lanes) in row.iter_mut().zip(right) {
                    *sum = left.mul_add(lanes, *sum);
                }
            }
            a = a.add(a_column);
            b = b.add(b_row);
        }
        for (r, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                let to = c.add(r * c_row + v * S::LANES);
                let count = if v + 1 < VECTORS { S::LANES } else { tail };
                let sum = if add { sum.add(S::load_first(to, count)) } else { *sum };
                sum.store_first(to, count);
            }
        }
    }
}

/// All rows of one panel of columns.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a kernel takes pointers and sizes")]
unsafe fn panel<S: Lanes, const VECTORS: usize>(
    rows: usize,
    depth: usize,
    a: *const f32,
    a_row: usize,
    a_column: usize,
    b: *const f32,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    tail: usize,
    packed: bool,
    add: bool,
) {
    // SAFETY: the caller vouches for the shapes; each tile lies within them.
    unsafe {
        let mut row = 0;
        macro_rules! tiles {
            ($height:literal) => {
                while rows - row >= $height {
                    let (a, c) = (a.add(row * a_row), c.add(row * c_row));
                    tile::<S, $height, VECTORS>(
                        depth, a, a_row, a_column, b, b_row, c, c_row, tail, packed, add,
                    );
                    row += $height;
                }
            };
        }
        if S::TILE_ROWS >= 8 {
            tiles!(8);
        }
        tiles!(4);
        tiles!(2);
        tiles!(1);
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a kernel takes pointers and sizes")]
unsafe fn product_lanes<S: Lanes>(
    rows: usize,
    columns: usize,
    depth: usize,
    a: *const f32,
    a_row: usize,
    a_column: usize,
    b: *const f32,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    add: bool,
) {
    let width = TILE_VECTORS * S::LANES;
    // A panel that several tiles read is first copied together: its rows else lie so far apart
    // that they push each other out of the cache.
    let packed = rows > 2 * S::TILE_ROWS;
    let mut scratch = Scratch::new(if packed { DEPTH.min(depth) * width } else { 0 });
    // SAFETY: the caller vouches for the shapes; the scratch holds a panel of whole vectors.
    unsafe {
        for from in (0..depth).step_by(DEPTH) {
            let terms = DEPTH.min(depth - from);
            let add = add || from > 0;
            let a = a.add(from * a_column);
            for column in (0..columns).step_by(width) {
                let wide = width.min(columns - column);
                let vectors = wide.div_ceil(S::LANES);
                let tail = wide - (vectors - 1) * S::LANES;
                let mut b = b.add(from * b_row + column);
                let mut b_row = b_row;
                if packed {
                    let to = scratch.as_mut_ptr();
                    for term in 0..terms {
                        for v in 0..vectors {
                            let count = if v + 1 < vectors { S::LANES } else { tail };
                            S::load_first(b.add(term * b_row + v * S::LANES), count)
                                .store(to.add(term * width + v * S::LANES));
                        }
                    }
                    b = to;
                    b_row = width;
                }
                let c = c.add(column);
                macro_rules! panels {
                    ($vectors:literal) => {
                        panel::<S, $vectors>(
                            rows, terms, a, a_row, a_column, b, b_row, c, c_row, tail, packed, add,
                        )
                    };
                }
                match vectors {
                    1 => panels!(1),
                    2 => panels!(2),
                    _ => panels!(3),
                }
            }
        }
    }
}

dispatch! {
    /// `c[rows, columns] (+)= a[rows, depth] · b[depth, columns]` on this thread. `c` and `b` have
    /// contiguous rows.
    unsafe fn product_block(
        rows: usize, columns: usize, depth: usize,
        a: *const f32, a_row: usize, a_column: usize,
        b: *const f32, b_row: usize,
        c: *mut f32, c_row: usize,
        add: bool,
    ) = product_lanes
}

/// `c (+)= a · b`, with `a` of `rows × depth`, `b` of `depth × columns` and `c` of
/// `rows × columns`, the last two row by row. With `split`, over the pool's threads.
#[expect(clippy::too_many_arguments, reason = "a kernel takes pointers and sizes")]
pub(crate) fn product(
    level: Level,
    rows: usize,
    columns: usize,
    depth: usize,
    a: Strided<'_>,
    b: &[f32],
    c: &mut [f32],
    into: Into,
    split: bool,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(b.len() >= depth * columns && c.len() >= rows * columns);
    if depth == 0 {
        if into == Into::Replace {
            c[..rows * columns].fill(0.0);
        }
        return;
    }
    assert!(
        a.values.len() > (rows - 1) * a.row_stride + (depth - 1) * a.column_stride,
        "the left matrix is too short"
    );
    let add = into == Into::Add;
    // 48 columns are whole tiles at every level.
    let (wide, tall) = if split {
        let tall = rows.min(64);
        let wide = (PIECE_COST / (tall * depth)).div_ceil(48).max(1) * 48;
        (wide.min(columns), tall)
    } else {
        (columns, rows)
    };
    let across = columns.div_ceil(wide);
    let pieces = across * rows.div_ceil(tall);
    let c = Shared::new(c);
    for_each(pieces, rows * columns * depth, |piece| {
        let (row, column) = (piece / across * tall, piece % across * wide);
        // SAFETY: the lengths were checked above; each piece has a block of `c` of its own.
        unsafe {
            product_block(
                level,
                tall.min(rows - row),
                wide.min(columns - column),
                depth,
                a.values.as_ptr().add(row * a.row_stride),
                a.row_stride,
                a.column_stride,
                b.as_ptr().add(column),
                columns,
                c.at(row * columns + column),
                columns,
                add,
            );
        }
    });
}

/// What is done to each dot product before it is stored.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// Added, by column.
    pub(crate) bias: Option<&'a [f32]>,
    /// Whether what is below 0 becomes 0.
    pub(crate) relu: bool,
    /// Whether the result is added to what is there.
    pub(crate) into: Into,
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a kernel takes pointers and sizes")]
unsafe fn dot_tile<S: Lanes, const ROWS: usize, const COLUMNS: usize>(
    depth: usize,
    a: *const f32,
    b: *const f32,
    stride: usize,
    c: *mut f32,
    c_row: usize,
    bias: *const f32,
    relu: bool,
    add: bool,
) {
    // SAFETY: the caller vouches for the shapes.
    unsafe {
        let mut sums = [[S::zero(); 4]; COLUMNS];
        let whole = depth - depth % S::LANES;
        let mut k = 0;
        while k < whole {
            let mut left = [S::zero(); ROWS];
            for (r, lanes) in left.iter_mut().enumerate() {
                *lanes = S::load(a.add(r * stride + k));
            }
            for (j, column) in sums.iter_mut().enumerate() {
                let right = S::load(b.add(j * stride + k));
                for (sum, lanes) in column.iter_mut().zip(left) {
                    *sum = lanes.mul_add(right, *sum);
                }
            }
            k += S::LANES;
        }
        if k < depth {
            for (j, column) in sums.iter_mut().enumerate() {
                let right = S::load_first(b.add(j * stride + k), depth - k);
                for (r, sum) in column.iter_mut().enumerate().take(ROWS) {
                    let left = S::load_first(a.add(r * stride + k), depth - k);
                    *sum = left.mul_add(right, *sum);
                }
            }
        }
        for (j, column) in sums.iter().enumerate() {
            let dots = S::sum4(*column);
            for (r, &dot) in dots.iter().enumerate().take(ROWS) {
                let to = c.add(r * c_row + j);
                let mut value = if bias.is_null() { dot } else { dot + *bias.add(j) };
                if add {
                    value += *to;
                }
                *to = if relu && value <= 0.0 { 0.0 } else { value };
            }
        }
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a kernel takes pointers and sizes")]
unsafe fn dots_lanes<S: Lanes>(
    rows: usize,
    columns: usize,
    depth: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    c_row: usize,
    bias: *const f32,
    relu: bool,
    add: bool,
) {
    // SAFETY: the caller vouches for the shapes; each tile lies within them.
    unsafe {
        let mut column = 0;
        macro_rules! tiles {
            ($columns:expr) => {
                while columns - column >= $columns {
                    let b = b.add(column * depth);
                    let bias = if bias.is_null() { bias } else { bias.add(column) };
                    let mut row = 0;
                    while rows - row >= 4 {
                        let (a, c) = (a.add(row * depth), c.add(row * c_row + column));
                        dot_tile::<S, 4, { $columns }>(
                            depth, a, b, depth, c, c_row, bias, relu, add,
                        );
                        row += 4;
                    }
                    while rows - row >= 1 {
                        let (a, c) = (a.add(row * depth), c.add(row * c_row + column));
                        dot_tile::<S, 1, { $columns }>(
                            depth, a, b, depth, c, c_row, bias, relu, add,
                        );
                        row += 1;
                    }
                    column += $columns;
                }
            };
        }
        if S::DOT_COLUMNS >= 4 {
            tiles!(4);
        }
        tiles!(2);
        tiles!(1);
    }
}

dispatch! {
    unsafe fn dots_block(
        rows: usize, columns: usize, depth: usize,
        a: *const f32, b: *const f32,
        c: *mut f32, c_row: usize,
        bias: *const f32, relu: bool, add: bool,
    ) = dots_lanes
}

/// `c[rows, columns] = finish(a[rows, depth] · b[columns, depth]ᵀ)`, all row by row: every element
/// is the dot product of two rows. With `split`, over the pool's threads.
#[expect(clippy::too_many_arguments, reason = "a kernel takes pointers and sizes")]
pub(crate) fn dots(
    level: Level,
    rows: usize,
    columns: usize,
    depth: usize,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    finish: Finish<'_>,
    split: bool,
) {
    assert!(a.len() >= rows * depth && b.len() >= columns * depth && c.len() >= rows * columns);
    assert!(finish.bias.is_none_or(|bias| bias.len() >= columns));
    // Rows of both are kept in multiples of 4, a tile's height and width.
    let (tall, wide) = if !split {
        (rows, columns)
    } else if columns >= 64 {
        let tall = rows.min(128);
        (tall, (PIECE_COST / (tall * depth).max(1)).div_ceil(4).max(1) * 4)
    } else {
        ((PIECE_COST / (columns * depth).max(1)).div_ceil(4).max(1) * 4, columns)
    };
    let (tall, wide) = (tall.max(1), wide.max(1));
    let across = columns.div_ceil(wide);
    let pieces = across * rows.div_ceil(tall);
    let c = Shared::new(c);
    for_each(pieces, rows * columns * depth, |piece| {
        let (row, column) = (piece / across * tall, piece % across * wide);
        let bias = finish.bias.map_or(std::ptr::null(), |bias| bias[column..].as_ptr());
        // SAFETY: the lengths were checked above; each piece has a block of `c` of its own.
        unsafe {
            dots_block(
                level,
                tall.min(rows - row),
                wide.min(columns - column),
                depth,
                a.as_ptr().add(row * depth),
                b.as_ptr().add(column * depth),
                c.at(row * columns + column),
                columns,
                bias,
                finish.relu,
                finish.into == Into::Add,
            );
        }
    });
}

#[cfg(test)]
mod tests;
