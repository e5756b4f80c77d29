//! Whether a source's price can be believed. Pure.

use crate::model::Price;
use rust_decimal::Decimal;

/// Largest move from one tick of a source to its next that needs no confirmation.
const JUMP: Decimal = Decimal::from_parts(5, 0, 0, false, 2);

/// Holds a jump until something confirms it.
#[derive(Debug, Default)]
pub(super) struct Jumps {
    believed: Option<Price>,
    held: Option<Price>,
}

impl Jumps {
    /// Whether to believe `price`: it is near the last one, or near the held one, which it confirms.
    pub(super) fn take(&mut self, price: Price) -> bool {
        let near = |other: Option<Price>| other.is_some_and(|other| near(price, other));
        if self.believed.is_none() || near(self.believed) || near(self.held) {
            self.believe(price);
            return true;
        }
        self.held = Some(price);
        false
    }

    /// Compares a source's first price with `price`.
    pub(super) fn begin(&mut self, price: Option<Price>) {
        self.believed = self.believed.or(price);
    }

    /// Believes a price that another source confirms.
    pub(super) fn believe(&mut self, price: Price) {
        (self.believed, self.held) = (Some(price), None);
    }

    /// The last price that was believed.
    pub(super) fn believed(&self) -> Option<Price> {
        self.believed
    }
}

/// Whether two prices are near enough to confirm each other.
pub(super) fn near(one: Price, other: Price) -> bool {
    one.deviation(other) <= JUMP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Price {
        Price::parse(text).unwrap()
    }

    #[test]
    fn a_jump_is_held_until_the_next_tick_confirms_it() {
        let mut jumps = Jumps::default();
        assert!(jumps.take(price("100")));
        assert!(jumps.take(price("105")), "five per cent is no jump");
        assert!(!jumps.take(price("1050")));
        assert_eq!(jumps.believed(), Some(price("105")));
        assert!(jumps.take(price("106")), "it was a slip");
        assert!(!jumps.take(price("1050")), "and is held again");
        assert!(jumps.take(price("1040")), "confirmed");
        assert_eq!(jumps.believed(), Some(price("1040")));
    }

    #[test]
    fn noise_confirms_nothing() {
        let mut jumps = Jumps::default();
        assert!(jumps.take(price("100")));
        for noise in ["1000", "10", "5000", "0.01"] {
            assert!(!jumps.take(price(noise)), "{noise}");
        }
    }
}
