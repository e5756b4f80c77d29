//! Enums whose values each have one word, which clients, logs and metrics read.

/// Defines an enum with the word of each value: `as_str`, `Display` and serde's text form give it, `ALL` lists them
/// all.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$about:meta])* $variant:ident = $word:literal),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$about])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// All values, in the order of their declaration.
            #[allow(dead_code, reason = "only tests walk some of the lists")]
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The value's word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use words;
