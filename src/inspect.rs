//! Inspection: what processes and meta-processes show of themselves, as pairs of a name and a value.

use std::fmt;

/// What an inspection found: pairs in a fixed order.
///
/// ```
/// use longshore::Inspection;
/// let mut inspection = Inspection::default();
/// inspection.add("bytes_in", 12);
/// assert_eq!(inspection.value("bytes_in"), Some("12"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection(Vec<(&'static str, String)>);

impl Inspection {
    /// Adds a pair.
    ///
    /// ```
    /// use longshore::Inspection;
    ///
    /// let mut inspection = Inspection::default();
    /// inspection.add("bytes_in", 12);
    /// assert_eq!(inspection.to_string(), "bytes_in=12");
    /// ```
    pub fn add(&mut self, name: &'static str, value: impl fmt::Display) {
        self.0.push((name, value.to_string()));
    }

    /// The value of that name.
    ///
    /// ```
    /// use longshore::Inspection;
    ///
    /// let mut inspection = Inspection::default();
    /// inspection.add("bytes_in", 12);
    /// assert_eq!(inspection.value("bytes_in"), Some("12"));
    /// assert_eq!(inspection.value("bytes_out"), None);
    /// ```
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of that name, as a number.
    ///
    /// ```
    /// use longshore::Inspection;
    ///
    /// let mut inspection = Inspection::default();
    /// inspection.add("bytes_in", 12);
    /// assert_eq!(inspection.number("bytes_in"), Some(12));
    /// ```
    pub fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.parse().ok()
    }

    /// All pairs.
    ///
    /// ```
    /// use longshore::Inspection;
    ///
    /// let mut inspection = Inspection::default();
    /// inspection.add("bytes_in", 12);
    /// assert!(inspection.iter().eq([("bytes_in", "12")]));
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(key, value)| (*key, value.as_str()))
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{name}={value}")?;
        }
        Ok(())
    }
}
