//! The words of images: visibility, and where a sharing stands. Their statuses are a life cycle of `corten_model`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or(())
            }
        }
    )*};
}

words! {
    /// Who can see an image besides its owner.
    Visibility {
        /// Everybody, in every list.
        Public = "public",
        /// Everybody who asks for it; in no list that does not ask for it.
        Community = "community",
        /// The projects that are its members.
        Shared = "shared",
        /// Nobody.
        Private = "private",
    }

    /// What a project said to an image that was shared with it.
    MemberStatus {
        Pending = "pending",
        /// The image is in the project's lists.
        Accepted = "accepted",
        Rejected = "rejected",
    }
}
