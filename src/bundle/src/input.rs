//! What the network was trained to read, beside what the device gives it.
//!
//! The device has one preprocessing for every network: blue, green, red, 0..255, means subtracted before the resize. The
//! compiler brings the rest into the first convolution: the order of its input channels, and one factor for each. Zero
//! padding is the same on both sides, since it comes after means and factors, and 0 is 0 by any factor.

use crate::Contents;

/// How the ONNX file's `data` follows from the device's blob: `data[c] = blob[bgr(c)] * scale[c] + shift[c]`.
///
/// `shift` is 0, up to rounding, unless the graph itself subtracts means, which the device then does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkInput {
    /// The blob's channel of each of the network's.
    pub channels: [usize; 3],
    /// By which that is multiplied.
    pub scale: [f64; 3],
    /// What is added then.
    pub shift: [f64; 3],
}

impl NetworkInput {
    /// What a network of this manifest and these `blob_means` reads.
    pub fn new(manifest: &crate::Manifest, blob_means: [f32; 3]) -> NetworkInput {
        let grey_level = f64::from(manifest.pixel_scale) / 255.0;
        let channels = [0, 1, 2].map(|c| manifest.channel_order.bgr(c));
        let std = manifest.pixel_stds.map(f64::from);
        NetworkInput {
            channels,
            scale: std.map(|std| grey_level / std),
            shift: std::array::from_fn(|c| {
                let subtracted = f64::from(blob_means[channels[c]]) * grey_level;
                (subtracted - f64::from(manifest.pixel_means[c])) / std[c]
            }),
        }
    }

    /// Whether the network reads the blob as it is.
    pub fn is_blob(&self) -> bool {
        *self == NetworkInput { channels: [0, 1, 2], scale: [1.0; 3], shift: [0.0; 3] }
    }

    /// The network's `data` of a blob; both `[.., 3]`, channels last.
    pub fn of_blob(&self, blob: &[f32]) -> Vec<f32> {
        let pixel = |blob: &[f32; 3]| {
            let channel = |c| (f64::from(blob[self.channels[c]]) * self.scale[c] + self.shift[c]) as f32;
            [0, 1, 2].map(channel)
        };
        blob.as_chunks::<3>().0.iter().flat_map(pixel).collect()
    }

    /// The reverse.
    pub fn to_blob(&self, data: &[f32]) -> Vec<f32> {
        let pixel = |data: &[f32; 3]| {
            let mut blob = [0.0; 3];
            for (c, value) in data.iter().enumerate() {
                blob[self.channels[c]] = ((f64::from(*value) - self.shift[c]) / self.scale[c]) as f32;
            }
            blob
        };
        data.as_chunks::<3>().0.iter().flat_map(pixel).collect()
    }
}

impl Contents {
    /// How the `data` of the ONNX file that this was made of follows from the device's blob.
    pub fn network_input(&self) -> NetworkInput {
        NetworkInput::new(&self.manifest, self.blob_means)
    }
}

#[cfg(test)]
mod tests {
    use crate::{ChannelOrder, Manifest, NetworkInput};

    fn torchvision() -> Manifest {
        let mut manifest = Manifest::new(vec!["b".into(), "c".into()]);
        manifest.channel_order = ChannelOrder::Rgb;
        manifest.pixel_scale = 1.0;
        manifest.pixel_means = [0.485, 0.456, 0.406];
        manifest.pixel_stds = [0.229, 0.224, 0.225];
        manifest
    }

    #[test]
    fn data_is_the_normalised_pixel() {
        let manifest = torchvision();
        for more in [0.0, 10.0] {
            // The graph subtracts `more` grey levels of its own.
            let means = manifest.blob_means().map(|mean| mean + more);
            let input = NetworkInput::new(&manifest, means);
            let [b, g, r] = [10.0, 120.0, 250.0];
            let blob = [b - means[0], g - means[1], r - means[2]];
            let data = input.of_blob(&blob);
            let expected =
                [(r / 255.0 - 0.485) / 0.229, (g / 255.0 - 0.456) / 0.224, (b / 255.0 - 0.406) / 0.225];
            for (found, expected) in data.iter().zip(expected) {
                // Means of some hundred grey levels are rounded to f32, and divided by 58.
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
            for (back, value) in input.to_blob(&data).iter().zip(blob) {
                // data is of order 1 and rounded at 1.2e-7; times 58 grey levels.
                assert!((back - value).abs() < 2e-5, "{back} {value}");
            }
        }
    }

    #[test]
    fn the_default_is_the_blob_itself() {
        let manifest = Manifest::new(vec!["b".into(), "c".into()]);
        assert!(NetworkInput::new(&manifest, manifest.blob_means()).is_blob());
        assert!(!NetworkInput::new(&manifest, [0.0; 3]).is_blob());
        assert!(!NetworkInput::new(&torchvision(), torchvision().blob_means()).is_blob());
    }
}
