//! The macro that writes an object whose fields are all optional.

/// An object whose fields are all optional and left out when absent.
macro_rules! part {
    (
        $(#[$meta:meta])*
        $name:ident { $( $(#[$field_meta:meta])* $field:ident: $type:ty, )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "server", derive(JsonSchema))]
        pub struct $name<'a> {
            $(
                $(#[$field_meta])*
                #[serde(skip_serializing_if = "Option::is_none", default)]
                pub $field: Option<$type>,
            )*
            #[serde(skip)]
            #[doc(hidden)]
            pub lifetime: std::marker::PhantomData<&'a ()>,
        }

        impl $name<'_> {
            /// Whether nothing was said.
            pub fn is_empty(&self) -> bool {
                $( self.$field.is_none() )&&*
            }
        }
    };
}

pub(super) use part;
