//! What the two graphs of a network read on a photo.

use frcnn::{BBox, Frame, GraphInput, Session};
use frcnn_bundle::{Contents, Graph, Regions, Shape, nominal_size};

use crate::error::Problem;

/// Regions whose features are made at once, and of R-CNN cut out.
const AT_ONCE: usize = 64;
const RCNN_AT_ONCE: usize = 16;

/// Calls `look` with every input of the trunk and of the head on a photo and some of `boxes`, at most `most` of them, evenly
/// spaced. Gives how many regions these are.
pub(crate) fn for_each(
    session: &mut Session,
    contents: &Contents,
    frame: &Frame,
    (boxes, most): (&[BBox], usize),
    mut look: impl FnMut(&Session, GraphInput<'_>) -> Result<(), Problem>,
) -> Result<usize, Problem> {
    let blobs = session.preprocess(frame)?;
    let boxes: Vec<BBox> = evenly(boxes.len(), most).filter_map(|place| boxes.get(place).copied()).collect();
    if let (Regions::RoiAlign(_), [blob]) = (&contents.regions, &blobs[..]) {
        look(session, GraphInput::Blob(blob))?;
        let maps = session.maps(blob)?;
        let boxes: Vec<BBox> = boxes.iter().map(|bbox| blob.to_blob(bbox)).collect();
        let rois = session.align_rois(&boxes)?.rois;
        for rois in rois.chunks(AT_ONCE) {
            let features = session.roi_align(&maps, rois)?;
            look(session, GraphInput::Features(&features))?;
        }
        return Ok(rois.len());
    }
    let rois = session.project(&boxes, &blobs)?.rois;
    if let (Regions::Warp(_), Some(image)) = (&contents.regions, blobs.first()) {
        for rois in rois.chunks(RCNN_AT_ONCE) {
            let crops = session.warp(image, rois)?;
            look(session, GraphInput::Crops(&crops))?;
            let features = session.trunk_of_crops(&crops)?;
            look(session, GraphInput::Features(&features))?;
        }
        return Ok(rois.len());
    }
    let mut maps = Vec::new();
    for blob in &blobs {
        look(session, GraphInput::Blob(blob))?;
        maps.push(session.trunk(blob)?);
    }
    for rois in rois.chunks(AT_ONCE) {
        let features = session.roi_pool(&maps, rois)?;
        look(session, GraphInput::Features(&features))?;
    }
    Ok(rois.len())
}

/// The graph that reads an input, how many images or regions the input is of, and the shapes of all values of one of them.
pub(crate) fn graph_of<'a>(
    contents: &'a Contents,
    input: GraphInput<'_>,
) -> Result<(&'a Graph, usize, Vec<Shape>), Problem> {
    let image = |[height, width]: [usize; 2]| Shape::Map { height, width, channels: 3 };
    let trunk = &contents.trunk;
    let (graph, shape, values) = match (input, &contents.regions) {
        (GraphInput::Blob(blob), _) => (trunk, image([blob.height, blob.width]), blob.data.len()),
        (GraphInput::Crops(crops), Regions::Warp(warp)) => {
            (trunk, image([warp.side as usize; 2]), crops.len())
        }
        (GraphInput::Crops(values) | GraphInput::Features(values), _) => {
            let (height, width) = nominal_size(contents);
            let shapes = shapes(trunk, image([height, width]))?;
            let map = trunk.outputs.first().and_then(|&value| shapes.get(value as usize));
            let map = *map.unwrap_or(&Shape::Flat { features: 0 });
            (&contents.head, contents.region_shape(map), values.len())
        }
    };
    Ok((graph, values / shape.len().max(1), shapes(graph, shape)?))
}

fn shapes(graph: &Graph, input: Shape) -> Result<Vec<Shape>, Problem> {
    graph.infer(input).map_err(|(position, problem)| {
        let layer = graph.layers.get(position).map(|layer| layer.name.clone()).unwrap_or_default();
        Problem::Bundle(frcnn_bundle::Error::Layer { graph: "network", layer, problem })
    })
}

/// At most `most` of `count` places, evenly spaced, the first among them.
pub fn evenly(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let taken = count.min(most);
    (0..taken).map(move |place| (place as u128 * count as u128 / taken as u128) as usize)
}

#[cfg(test)]
mod tests {
    use super::evenly;

    #[test]
    fn places_are_evenly_spaced() {
        let places = |count, most| evenly(count, most).collect::<Vec<_>>();
        assert_eq!(places(10, 4), [0, 2, 5, 7]);
        assert_eq!(places(3, 4), [0, 1, 2]);
        assert!(places(0, 4).is_empty() && places(4, 0).is_empty());
    }
}
