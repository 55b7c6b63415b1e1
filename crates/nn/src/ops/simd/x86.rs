//! The vectors of x86-64.

use std::arch::x86_64::*;

use super::Lanes;

/// Eight lanes.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256);

/// Sixteen lanes.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

/// Windows into this give a mask whose first lanes are set.
static MASK: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// The sums of four vectors of 8.
#[inline(always)]
unsafe fn sum4_of_8(v: [__m256; 4]) -> [f32; 4] {
    // SAFETY: the caller has AVX2.
    unsafe {
        let ab = _mm256_hadd_ps(v[0], v[1]);
        let cd = _mm256_hadd_ps(v[2], v[3]);
        let abcd = _mm256_hadd_ps(ab, cd);
        let sums = _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps::<1>(abcd));
        let mut out = [0.0; 4];
        _mm_storeu_ps(out.as_mut_ptr(), sums);
        out
    }
}

// SAFETY of the bodies below: by the trait's contract the caller has the instruction set, and
// vouches for the memory.
impl Lanes for Avx2 {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 4;
    const DOT_COLUMNS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { Self(_mm256_setzero_ps()) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { Self(_mm256_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(_mm256_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        unsafe {
            let mask = _mm256_loadu_si256(MASK.as_ptr().add(8 - count.min(8)).cast());
            Self(_mm256_maskload_ps(from, mask))
        }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        unsafe {
            let mask = _mm256_loadu_si256(MASK.as_ptr().add(8 - count.min(8)).cast());
            _mm256_maskstore_ps(to, mask, self.0);
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm256_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { Self(_mm256_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        unsafe { Self(_mm256_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        unsafe { Self(_mm256_sqrt_ps(self.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        unsafe { Self(_mm256_max_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, term.0)) }
    }
    #[inline(always)]
    unsafe fn if_greater(self, other: Self, yes: Self, no: Self) -> Self {
        unsafe {
            let mask = _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0);
            Self(_mm256_blendv_ps(no.0, yes.0, mask))
        }
    }
    #[inline(always)]
    unsafe fn sum4(v: [Self; 4]) -> [f32; 4] {
        unsafe { sum4_of_8([v[0].0, v[1].0, v[2].0, v[3].0]) }
    }
}

/// The mask of the first `count` of 16 lanes.
#[inline(always)]
fn mask16(count: usize) -> __mmask16 {
    ((1_u32 << count.min(16)) - 1) as __mmask16
}

impl Lanes for Avx512 {
    const LANES: usize = 16;
    const TILE_ROWS: usize = 8;
    const DOT_COLUMNS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { Self(_mm512_setzero_ps()) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { Self(_mm512_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        unsafe { Self(_mm512_maskz_loadu_ps(mask16(count), from)) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, mask16(count), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        unsafe { Self(_mm512_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        unsafe { Self(_mm512_sqrt_ps(self.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        unsafe { Self(_mm512_max_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, term.0)) }
    }
    #[inline(always)]
    unsafe fn if_greater(self, other: Self, yes: Self, no: Self) -> Self {
        unsafe {
            let mask = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0);
            Self(_mm512_mask_blend_ps(mask, no.0, yes.0))
        }
    }
    #[inline(always)]
    unsafe fn store_nonzero(self, place: Self, values: *mut f32, places: *mut u32) -> usize {
        unsafe {
            let keep = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(self.0, _mm512_setzero_ps());
            _mm512_storeu_ps(values, _mm512_maskz_compress_ps(keep, self.0));
            let place = _mm512_cvttps_epi32(place.0);
            _mm512_storeu_si512(places.cast(), _mm512_maskz_compress_epi32(keep, place));
            keep.count_ones() as usize
        }
    }
    #[inline(always)]
    unsafe fn transpose(
        from: *const f32,
        from_stride: usize,
        to: *mut f32,
        to_stride: usize,
        rows: usize,
        columns: usize,
    ) {
        unsafe {
            let mut r = [_mm512_setzero_ps(); 16];
            for (i, row) in r.iter_mut().enumerate() {
                *row = _mm512_loadu_ps(from.add(i * from_stride));
            }
            // Pairs, then fours of rows are interleaved within each quarter of the vectors…
            let mut fours = [_mm512_setzero_pd(); 16];
            for i in (0..16).step_by(4) {
                let low = |a, b| _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
                let high = |a, b| _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
                let (a, b) = (low(r[i], r[i + 1]), low(r[i + 2], r[i + 3]));
                let (c, d) = (high(r[i], r[i + 1]), high(r[i + 2], r[i + 3]));
                fours[i] = _mm512_unpacklo_pd(a, b);
                fours[i + 1] = _mm512_unpackhi_pd(a, b);
                fours[i + 2] = _mm512_unpacklo_pd(c, d);
                fours[i + 3] = _mm512_unpackhi_pd(c, d);
            }
            // … and then the quarters are brought to their places.
            for i in 0..4 {
                let quarter = |j: usize| _mm512_castpd_ps(fours[j * 4 + i]);
                let even_low = _mm512_shuffle_f32x4::<0x88>(quarter(0), quarter(1));
                let odd_low = _mm512_shuffle_f32x4::<0xdd>(quarter(0), quarter(1));
                let even_high = _mm512_shuffle_f32x4::<0x88>(quarter(2), quarter(3));
                let odd_high = _mm512_shuffle_f32x4::<0xdd>(quarter(2), quarter(3));
                r[i] = _mm512_shuffle_f32x4::<0x88>(even_low, even_high);
                r[i + 8] = _mm512_shuffle_f32x4::<0xdd>(even_low, even_high);
                r[i + 4] = _mm512_shuffle_f32x4::<0x88>(odd_low, odd_high);
                r[i + 12] = _mm512_shuffle_f32x4::<0xdd>(odd_low, odd_high);
            }
            for (i, column) in r.iter().enumerate().take(columns) {
                _mm512_mask_storeu_ps(to.add(i * to_stride), mask16(rows), *column);
            }
        }
    }
    #[inline(always)]
    unsafe fn sum4(v: [Self; 4]) -> [f32; 4] {
        unsafe {
            let fold = |v: __m512| {
                let high = _mm512_castpd_ps(_mm512_castsi512_pd(_mm512_castps_si512(v)));
                let high = _mm512_shuffle_f32x4::<0b11_10_11_10>(high, high);
                _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_castps512_ps256(high))
            };
            sum4_of_8([fold(v[0].0), fold(v[1].0), fold(v[2].0), fold(v[3].0)])
        }
    }
}
