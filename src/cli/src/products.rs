//! `--f32-products`: how fully connected layers multiply.

use std::fmt;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use frcnn::F32Products;

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct ProductArgs {
    /// How fully connected layers with f32 or f16 weights multiply
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Products::Bf16x3)]
    f32_products: Products,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Products {
    /// In f32 on every CPU
    Exact,
    /// Where the CPU has AMX as three bf16 products each: faster, and as accurate. Elsewhere as exact, bit by bit
    Bf16x3,
}

impl fmt::Display for ProductArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.f32_products.to_possible_value();
        f.write_str(value.as_ref().map_or("", PossibleValue::get_name))
    }
}

impl From<ProductArgs> for F32Products {
    fn from(args: ProductArgs) -> F32Products {
        match args.f32_products {
            Products::Exact => F32Products::Exact,
            Products::Bf16x3 => F32Products::Bf16x3,
        }
    }
}
