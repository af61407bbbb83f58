//! How sizes are printed.

/// `97.3 MiB`, rounded to a tenth; below one tenth, in bytes.
pub(crate) fn mebibytes(bytes: u64) -> String {
    const MEBI: u128 = 1 << 20;
    let tenths = (u128::from(bytes) * 10 + MEBI / 2) / MEBI;
    if tenths == 0 { format!("{bytes} B") } else { format!("{}.{} MiB", tenths / 10, tenths % 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_a_tenth() {
        for (bytes, text) in [
            (0, "0 B"),
            (52_000, "52000 B"),
            (52_429, "0.1 MiB"),
            (1 << 20, "1.0 MiB"),
            (102_026_445, "97.3 MiB"),
            (u64::MAX, "17592186044416.0 MiB"),
        ] {
            assert_eq!(mebibytes(bytes), text);
        }
    }
}
