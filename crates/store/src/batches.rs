//! Many rows in one statement.

/// Cuts rows into pieces of a few fixed lengths, the longest `most`, so that a few prepared
/// statements do for all.
pub(crate) fn batches<T>(rows: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let lengths = [512, 64, 8, 1].into_iter().filter(|length| *length <= most);
        let length = { lengths }.find(|length| *length <= rest.len())?;
        let (batch, after) = rest.split_at(length);
        rest = after;
        Some(batch)
    })
}

/// `(?, ?), (?, ?)`: so many rows of so many columns, for SQLite. To it `$1` would be a name, and
/// sqlx looks for each name among all others.
pub(crate) fn unnamed_values(columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    vec![row; rows].join(", ")
}

/// `($1, $2), ($3, $4)`: the same for Postgres.
pub(crate) fn values(columns: usize, rows: usize) -> String {
    let row = |row: usize| {
        let places: Vec<String> =
            (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", places.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_leave_nothing_out() {
        for length in [0, 1, 7, 8, 73, 513, 2000] {
            let rows: Vec<_> = (0..length).collect();
            let joined: Vec<_> = batches(&rows, 512).flatten().copied().collect();
            assert_eq!(joined, rows);
            assert!(batches(&rows, 64).all(|batch| batch.len() <= 64));
        }
        assert_eq!(values(2, 2), "($1, $2), ($3, $4)");
        assert_eq!(unnamed_values(2, 2), "(?, ?), (?, ?)");
    }
}
