//! Median and range of a handful of figures. With seven rounds the range says more than a variance would.

use serde_json::{Value, json};

/// The middle figure and the two ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The middle of the sorted figures; the mean of the two middle ones of an even number.
    pub median: f64,
    /// The smallest figure.
    pub min: f64,
    /// The largest figure.
    pub max: f64,
}

impl Spread {
    /// Summarizes the figures; none if there are none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures
            .into_iter()
            .filter(|figure| figure.is_finite())
            .collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        };
        Some(Self { median, min, max })
    }

    /// The three figures as an object.
    pub fn to_json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }

    /// `1.04 (0.95–1.44)`, as a ratio is written in a table.
    pub fn as_ratio(self) -> String {
        format!("{:.2} ({:.2}–{:.2})", self.median, self.min, self.max)
    }
}

/// The middle figure and the middles of both halves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles {
    /// A quarter of the figures are below it.
    pub low: f64,
    /// The middle of the sorted figures.
    pub median: f64,
    /// A quarter of the figures are above it.
    pub high: f64,
}

impl Quartiles {
    /// Summarizes the figures, interpolating between neighbors; none if there are none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures
            .into_iter()
            .filter(|figure| figure.is_finite())
            .collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |share: f64| {
            let place = share * last as f64;
            let (below, above) = (
                sorted[place.floor() as usize],
                sorted[place.ceil() as usize],
            );
            below + (above - below) * place.fract()
        };
        Some(Self {
            low: at(0.25),
            median: at(0.5),
            high: at(0.75),
        })
    }

    /// `1.04 (0.98–1.09)`, as a ratio is written in a table.
    pub fn as_ratio(self) -> String {
        format!("{:.2} ({:.2}–{:.2})", self.median, self.low, self.high)
    }
}

/// A figure with three significant digits and a unit prefix: `6.71 k`, `1.61 M`.
pub fn short(figure: f64) -> String {
    let (scaled, unit) = match figure.abs() {
        size if size >= 1e9 => (figure / 1e9, " G"),
        size if size >= 1e6 => (figure / 1e6, " M"),
        size if size >= 1e3 => (figure / 1e3, " k"),
        _ => (figure, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{scaled:.digits$}{unit}")
}

/// A whole figure with its thousands apart: `12,671`.
pub fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_number_has_its_median_between_the_middle_two() {
        assert_eq!(
            Spread::of([4.0, 1.0, 3.0, 2.0]),
            Some(Spread {
                median: 2.5,
                min: 1.0,
                max: 4.0
            })
        );
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn quartiles_of_five_figures_are_the_second_and_the_fourth() {
        let found = Quartiles::of([5.0, 1.0, 4.0, 2.0, 3.0]);
        let expected = Quartiles {
            low: 2.0,
            median: 3.0,
            high: 4.0,
        };
        assert_eq!(found, Some(expected));
        assert_eq!(Quartiles::of([]), None);
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!(
            [0.0, 396.4, 12_671.0, 1_234_567.0].map(grouped),
            ["0", "396", "12,671", "1,234,567"]
        );
    }

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!(
            [
                short(6714.0),
                short(1_610_000.0),
                short(81_000.0),
                short(3.0)
            ],
            ["6.71 k", "1.61 M", "81.0 k", "3.00"]
        );
    }
}
