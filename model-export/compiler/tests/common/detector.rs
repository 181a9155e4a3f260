//! A small Faster R-CNN with a pyramid as torchvision's exporter writes one: the same nodes in the same order, as text for
//! [`nodes`](super::nodes). Arithmetic of shapes is left out where nothing is read of it: a `Reshape` has a constant in its place.

/// The numbers of a detector, each its own, so that none is taken for another.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    pub(crate) min_size: f32,
    pub(crate) max_size: f32,
    pub(crate) multiple: f32,
    pub(crate) pre_nms: u32,
    pub(crate) post_nms: u32,
    pub(crate) rpn_iou: f32,
    pub(crate) rpn_score: f32,
    pub(crate) rpn_side: f32,
    pub(crate) rpn_weights: [f32; 4],
    pub(crate) weights: [f32; 4],
    pub(crate) score: f32,
    pub(crate) iou: f32,
    pub(crate) side: f32,
    pub(crate) detections: u32,
    pub(crate) canonical_size: f32,
    pub(crate) canonical_level: f32,
    pub(crate) sampling_ratio: u32,
}

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers {
            min_size: 120.0,
            max_size: 211.0,
            multiple: 16.0,
            pre_nms: 77,
            post_nms: 33,
            rpn_iou: 0.65,
            rpn_score: 0.02,
            rpn_side: 0.002,
            rpn_weights: [1.0, 1.5, 2.0, 2.5],
            weights: [9.0, 8.0, 4.0, 6.0],
            score: 0.07,
            iou: 0.45,
            side: 0.03,
            detections: 19,
            canonical_size: 100.0,
            canonical_level: 3.0,
            sampling_ratio: 2,
        }
    }
}

/// Base anchors of each map, two a cell.
pub(crate) const ANCHORS: [[[f32; 4]; 2]; 3] = [
    [[-10.0, -11.0, 10.0, 11.0], [-14.0, -7.0, 14.0, 7.0]],
    [[-20.0, -21.0, 20.0, 21.0], [-28.0, -15.0, 28.0, 15.0]],
    [[-40.0, -41.0, 40.0, 41.0], [-56.0, -31.0, 56.0, 31.0]],
];

/// The whole file's nodes.
pub(crate) fn text(n: &Numbers) -> String {
    [image(n), TRUNK.to_string(), proposals(n), pooling(n), HEAD.to_string(), detections(n)].concat()
}

fn image(n: &Numbers) -> String {
    format!(
        "less = Sub image =mean:3x1x1
         normalised = Div less =std:3x1x1
         shape = Shape normalised
         sides = Slice shape =[-2] =[9223372036854775807] =[0] =[1]
         short = ReduceMin sides | keepdims=0
         short_f = Cast short | to=1
         long = ReduceMax sides | keepdims=0
         long_f = Cast long | to=1
         of_short = Reciprocal short_f
         scale_short = Mul of_short ={min:?}
         of_long = Reciprocal long_f
         scale_long = Mul of_long ={max:?}
         scale = Min scale_short scale_long
         batch = Unsqueeze normalised =[0]
         batch_shape = Shape batch
         height = Gather batch_shape =2 | axis=0
         height_f = Cast height | to=1
         scaled_height = Mul height_f scale
         rows = Floor scaled_height
         width = Gather batch_shape =3 | axis=0
         width_f = Cast width | to=1
         scaled_width = Mul width_f scale
         columns = Floor scaled_width
         rows_1 = Unsqueeze rows =[0]
         columns_1 = Unsqueeze columns =[0]
         size = Concat rows_1 columns_1 | axis=0
         first_two = Slice batch_shape =[0] =[2] =[0]
         size_i = Cast size | to=7
         sizes = Concat first_two size_i | axis=0
         resized = Resize batch _ _ sizes | coordinate_transformation_mode=half_pixel mode=linear nearest_mode=floor
         one = Gather resized =0 | axis=0
         one_shape = Shape one
         down = Gather one_shape =1 | axis=0
         down_f = Cast down | to=1
         down_n = Div down_f ={multiple:?}
         down_up = Ceil down_n
         down_padded = Mul down_up ={multiple:?}
         right = Gather one_shape =2 | axis=0
         right_f = Cast right | to=1
         right_n = Div right_f ={multiple:?}
         right_up = Ceil right_n
         right_padded = Mul right_up ={multiple:?}
         more_down = Sub down_padded down_f
         more_right = Sub right_padded right_f
         pads_f = Concat more_right more_down | axis=0
         pads = Cast pads_f | to=7
         padded = Pad one pads _ | mode=constant
         padded_1 = Unsqueeze padded =[0]
         blob = Concat padded_1 | axis=0\n",
        min = n.min_size,
        max = n.max_size,
        multiple = n.multiple,
    )
}

/// Two layers, frozen batch normalisation behind the first, and a pyramid of maps at 1/4, 1/8 and 1/16.
const TRUNK: &str = "
    c1 = Conv blob c1.weight:5x3x5x5 | kernel_shape=[5,5] pads=[2,2,2,2] strides=[4,4]
    n1 = Mul c1 n1.scale:1x5x1x1
    s1 = Add n1 n1.shift:1x5x1x1
    r1 = Relu s1
    c2 = Conv r1 c2.weight:7x5x3x3 c2.bias:7 | kernel_shape=[3,3] pads=[1,1,1,1] strides=[2,2]
    r2 = Relu c2
    inner_1 = Conv r2 inner_1.weight:6x7x1x1 inner_1.bias:6 | kernel_shape=[1,1]
    map_1 = Conv inner_1 layer_1.weight:6x6x3x3 layer_1.bias:6 | kernel_shape=[3,3] pads=[1,1,1,1]
    inner_0 = Conv r1 inner_0.weight:6x5x1x1 inner_0.bias:6 | kernel_shape=[1,1]
    inner_shape = Shape inner_0
    inner_rows = Gather inner_shape =2 | axis=0
    inner_columns = Gather inner_shape =3 | axis=0
    inner_rows_1 = Unsqueeze inner_rows =[0]
    inner_columns_1 = Unsqueeze inner_columns =[0]
    inner_size = Concat inner_rows_1 inner_columns_1 | axis=0
    top_shape = Shape inner_1
    top_two = Slice top_shape =[0] =[2] =[0]
    upper_size = Concat top_two inner_size | axis=0
    upper = Resize inner_1 _ _ upper_size | coordinate_transformation_mode=asymmetric mode=nearest nearest_mode=floor
    sum_0 = Add inner_0 upper
    map_0 = Conv sum_0 layer_0.weight:6x6x3x3 layer_0.bias:6 | kernel_shape=[3,3] pads=[1,1,1,1]
    map_2 = MaxPool map_1 | kernel_shape=[1,1] strides=[2,2]
";

fn proposals(n: &Numbers) -> String {
    let mut text = String::new();
    for map in 0..3 {
        text += &format!(
            "t{map} = Conv map_{map} rpn.weight:6x6x3x3 rpn.bias:6 | kernel_shape=[3,3] pads=[1,1,1,1]
             h{map} = Relu t{map}
             logits{map} = Conv h{map} logits.weight:2x6x1x1 logits.bias:2 | kernel_shape=[1,1]
             deltas{map} = Conv h{map} deltas.weight:8x6x1x1 deltas.bias:8 | kernel_shape=[1,1]
             steps{map} = Shape map_{map}
             places{map} = Reshape steps{map} =[-1,1,4]
             places_f{map} = Cast places{map} | to=1
             shifted{map} = Add places_f{map} =anchors{map}:1x2x4
             anchors_of{map} = Reshape shifted{map} =[-1,4]
             l1{map} = Reshape logits{map} =[1,-1,1,7,7]
             l2{map} = Transpose l1{map} | perm=[0,3,4,1,2]
             l3{map} = Reshape l2{map} =[1,-1,1]
             d1{map} = Reshape deltas{map} =[1,-1,4,7,7]
             d2{map} = Transpose d1{map} | perm=[0,3,4,1,2]
             d3{map} = Reshape d2{map} =[1,-1,4]\n"
        );
    }
    text += "anchors = Concat anchors_of0 anchors_of1 anchors_of2 | axis=0
             all_logits = Concat l30 l31 l32 | axis=1
             flat_logits = Flatten all_logits | axis=-1
             all_deltas = Concat d30 d31 d32 | axis=1
             flat_deltas = Reshape all_deltas =[-1,4]
             anchors_1 = Concat anchors | axis=0
             rpn_in = Reshape flat_deltas =[-1,4]\n";
    text += &decode("rpn", "rpn_in", "anchors_1", n.rpn_weights);
    text += "rpn_all = Reshape rpn_flat =[-1,4]
             rpn_of_image = Reshape rpn_all =[1,-1,4]
             rpn_logits = Reshape flat_logits =[1,-1]\n";
    for map in 0..3 {
        text += &format!(
            "part{map} = Slice rpn_logits =[0] =[9999] =[1]
             part_shape{map} = Shape part{map}
             part_len{map} = Gather part_shape{map} =1 | axis=0
             part_len_1{map} = Unsqueeze part_len{map} =[0]
             choice{map} = Concat =[{pre_nms}] part_len_1{map} | axis=0
             fewer{map} = ReduceMin choice{map} | keepdims=0
             k{map} = Reshape fewer{map} =[1]
             top{map}, place{map} = TopK part{map} k{map} | axis=1 largest=1 sorted=1\n",
            pre_nms = n.pre_nms
        );
    }
    text += "best = Concat place0 place1 place2 | axis=1
             best_logits = Gather rpn_logits best | axis=0
             best_levels = Gather rpn_logits best | axis=0
             best_boxes = Gather rpn_of_image best | axis=0
             prob = Sigmoid best_logits
             rpn_b = Squeeze best_boxes =[0]
             rpn_s = Squeeze prob =[0]
             rpn_c = Squeeze best_levels =[0]\n";
    text += &clipped("rpn");
    text += &dropped("rpn", n.rpn_side, &format!("GreaterOrEqual rpn_s1 ={:?}", n.rpn_score), true);
    text += &suppressed("rpn", n.rpn_iou, n.post_nms);
    text + "proposals = Gather rpn_b2 rpn_keep | axis=0\n"
}

/// Corners that lie in the image.
fn clipped(at: &str) -> String {
    format!(
        "{at}_x = Slice {at}_b =[0] =[9223372036854775807] =[1] =[2]
         {at}_y = Slice {at}_b =[1] =[9223372036854775807] =[1] =[2]
         {at}_x1 = Max {at}_x =0.0
         {at}_x2 = Min {at}_x1 right_f
         {at}_y1 = Max {at}_y =0.0
         {at}_y2 = Min {at}_y1 down_f
         {at}_xs = Unsqueeze {at}_x2 =[2]
         {at}_ys = Unsqueeze {at}_y2 =[2]
         {at}_xy = Concat {at}_xs {at}_ys | axis=2
         {at}_b0 = Reshape {at}_xy =[-1,4]\n"
    )
}

/// `BoxCoder.decode`.
fn decode(at: &str, deltas: &str, boxes: &str, weights: [f32; 4]) -> String {
    let mut text = String::new();
    for (column, (name, weight)) in ["dx", "dy", "dw", "dh"].iter().zip(weights).enumerate() {
        text += &format!(
            "{at}_{name}0 = Slice {deltas} =[{column}] =[9223372036854775807] =[1] =[4]
             {at}_{name} = Div {at}_{name}0 ={weight:?}\n"
        );
    }
    text + &format!(
        "{at}_cw = Clip {at}_dw _ =4.135166645050049
         {at}_ch = Clip {at}_dh _ =4.135166645050049
         {at}_px = Mul {at}_dx {boxes}
         {at}_cx = Add {at}_px {boxes}
         {at}_py = Mul {at}_dy {boxes}
         {at}_cy = Add {at}_py {boxes}
         {at}_ew = Exp {at}_cw
         {at}_pw = Mul {at}_ew {boxes}
         {at}_eh = Exp {at}_ch
         {at}_ph = Mul {at}_eh {boxes}
         {at}_left = Sub {at}_cx {at}_pw
         {at}_top = Sub {at}_cy {at}_ph
         {at}_right = Add {at}_cx {at}_pw
         {at}_bottom = Add {at}_cy {at}_ph
         {at}_corners = Concat {at}_left {at}_top {at}_right {at}_bottom | axis=2
         {at}_flat = Flatten {at}_corners | axis=1\n"
    )
}

/// Boxes `_b0`, scores `_s` and classes `_c` without small boxes and low scores: `_b2`, `_s2`, `_c2`.
fn dropped(at: &str, side: f32, score: &str, small_first: bool) -> String {
    let small = |b: &str| {
        format!(
            "{at}_far_x = Gather {b} =2 | axis=1
             {at}_near_x = Gather {b} =0 | axis=1
             {at}_wide = Sub {at}_far_x {at}_near_x
             {at}_far_y = Gather {b} =3 | axis=1
             {at}_near_y = Gather {b} =1 | axis=1
             {at}_high = Sub {at}_far_y {at}_near_y
             {at}_wide_enough = GreaterOrEqual {at}_wide ={side:?}
             {at}_high_enough = GreaterOrEqual {at}_high ={side:?}
             {at}_large = And {at}_wide_enough {at}_high_enough\n"
        )
    };
    let pick = |test: &str, from: [&str; 3], to: usize| {
        let [b, s, c] = from;
        format!(
            "{at}_where{to} = NonZero {test}
             {at}_turned{to} = Transpose {at}_where{to} | perm=[1,0]
             {at}_split{to} = Split {at}_turned{to} =[1] | axis=1
             {at}_places{to} = Squeeze {at}_split{to} =[1]
             {at}_b{to} = Gather {b} {at}_places{to} | axis=0
             {at}_s{to} = Gather {s} {at}_places{to} | axis=0
             {at}_c{to} = Gather {c} {at}_places{to} | axis=0\n"
        )
    };
    let before = [format!("{at}_b0"), format!("{at}_s"), format!("{at}_c")];
    let first = before.each_ref().map(String::as_str);
    let names = ["b1", "s1", "c1"].map(|name| format!("{at}_{name}"));
    let second = names.each_ref().map(String::as_str);
    if small_first {
        small(&before[0])
            + &pick(&format!("{at}_large"), first, 1)
            + &format!("{at}_good = {score}\n")
            + &pick(&format!("{at}_good"), second, 2)
    } else {
        format!("{at}_good = {score}\n")
            + &pick(&format!("{at}_good"), first, 1)
            + &small(&names[0])
            + &pick(&format!("{at}_large"), second, 2)
    }
}

/// `batched_nms`, and the first of what it keeps: `_keep`.
fn suppressed(at: &str, iou: f32, count: u32) -> String {
    format!(
        "{at}_kept_shape = Shape {at}_b2
         {at}_len = ReduceProd {at}_kept_shape | keepdims=0
         {at}_none = Equal {at}_len =0
         {at}_if = If {at}_none {{
           {at}_max = ReduceMax {at}_b2 | keepdims=0
           {at}_class = Cast {at}_c2 | to=1
           {at}_step = Add {at}_max =1.0
           {at}_offsets = Mul {at}_class {at}_step
           {at}_zero = Unsqueeze =0 =[0]
           {at}_one = Unsqueeze =1 =[0]
           {at}_sliced = Slice {at}_offsets =[0] =[9223372036854775807] {at}_zero {at}_one
           {at}_column = Unsqueeze {at}_sliced =[1]
           {at}_apart = Add {at}_b2 {at}_column
           {at}_apart_1 = Unsqueeze {at}_apart =[0]
           {at}_scores_1 = Unsqueeze {at}_s2 =[0]
           {at}_scores_2 = Unsqueeze {at}_scores_1 =[0]
           {at}_apart_f = Cast {at}_apart_1 | to=1
           {at}_scores_f = Cast {at}_scores_2 | to=1
           {at}_nms = NonMaxSuppression {at}_apart_f {at}_scores_f =[9223372036854775807] =[{iou:?}]
           {at}_third = Gather {at}_nms =[2] | axis=1
           {at}_chosen = Squeeze {at}_third =[1]
         }}
         {at}_keep = Slice {at}_if =[0] =[{count}] =[0] =[1]\n"
    )
}

fn pooling(n: &Numbers) -> String {
    let mut text = format!(
        "boxes_1 = Concat proposals | axis=0
         one_box = Slice proposals =[0] =[1] =[1] =[1]
         one_box_shape = Shape one_box
         index = ConstantOfShape one_box_shape
         index_1 = Concat index | axis=0
         rois = Concat index_1 boxes_1 | axis=1
         x2 = Gather proposals =2 | axis=1
         x1 = Gather proposals =0 | axis=1
         w = Sub x2 x1
         y2 = Gather proposals =3 | axis=1
         y1 = Gather proposals =1 | axis=1
         h = Sub y2 y1
         area = Mul w h
         areas = Concat area | axis=0
         side = Sqrt areas
         share = Div side ={:?}
         ln = Log share
         log2 = Div ln =0.6931471824645996
         level = Add log2 ={:?}
         above = Add level =9.999999974752427e-07
         floor = Floor above
         bounded = Clip floor =2.0 =3.0
         bounded_i = Cast bounded | to=7
         number = Sub bounded_i =2
         number_i = Cast number | to=7\n",
        n.canonical_size, n.canonical_level
    );
    for level in 0..2 {
        let scale = [0.25, 0.125][level];
        text += &format!(
            "is{level} = Equal number_i ={level}
             of{level} = NonZero is{level}
             turned{level} = Transpose of{level} | perm=[1,0]
             split{level} = Split turned{level} =[1] | axis=1
             which{level} = Squeeze split{level} =[1]
             rois{level} = Gather rois which{level} | axis=0
             first{level} = Gather rois{level} =[0] | axis=1
             image{level} = Squeeze first{level} =[1]
             image_i{level} = Cast image{level} | to=7
             four{level} = Gather rois{level} =[1,2,3,4] | axis=1
             align{level} = RoiAlign map_{level} four{level} image_i{level} | coordinate_transformation_mode=output_half_pixel \
                output_height=3 output_width=3 sampling_ratio={} spatial_scale={scale:?} mode=avg
             pooled{level} = Cast align{level} | to=1\n",
            n.sampling_ratio
        );
    }
    text + "none = ConstantOfShape one_box_shape
            spread0 = Reshape which0 =[-1,1,1,1]
            merged0 = ScatterElements none spread0 pooled0 | axis=0
            spread1 = Reshape which1 =[-1,1,1,1]
            merged1 = ScatterElements merged0 spread1 pooled1 | axis=0\n"
}

const HEAD: &str = "
    flat = Flatten merged1 | axis=1
    fc6 = Gemm flat fc6.weight:11x54 fc6.bias:11 | transB=1
    fc6_relu = Relu fc6
    fc7 = Gemm fc6_relu fc7.weight:10x11 fc7.bias:10 | transB=1
    fc7_relu = Relu fc7
    cls_score = Gemm fc7_relu cls_score.weight:4x10 cls_score.bias:4 | transB=1
    bbox_pred = Gemm fc7_relu bbox_pred.weight:16x10 bbox_pred.bias:16 | transB=1
";

fn detections(n: &Numbers) -> String {
    let mut text = "det_in = Reshape bbox_pred =[-1,16]
                    det_rois = Cast boxes_1 | to=1\n"
        .to_string();
    text += &decode("det", "det_in", "det_rois", n.weights);
    text += "det_all = Reshape det_flat =[-1,4,4]
             cls_prob = Softmax cls_score | axis=-1
             det_b = Slice det_all =[0] =[9999] =[0]
             prob_of_image = Slice cls_prob =[0] =[9999] =[0]\n";
    text += &clipped("det").replace("det_b0 =", "det_bs =");
    text += "class_range = Range =0 =4 =1
             classes = Expand class_range =[4]
             det_bn = Slice det_bs =[1] =[9223372036854775807] =[1] =[1]
             det_sn = Slice prob_of_image =[1] =[9223372036854775807] =[1] =[1]
             det_cn = Slice classes =[1] =[9223372036854775807] =[1] =[1]
             det_b0 = Reshape det_bn =[-1,4]
             det_s = Reshape det_sn =[-1]
             det_c = Reshape det_cn =[-1]\n";
    text += &dropped("det", n.side, &format!("Greater det_s ={:?}", n.score), false);
    text += &suppressed("det", n.iou, n.detections);
    text += "found = Gather det_b2 det_keep | axis=0
             scores = Gather det_s2 det_keep | axis=0
             labels = Gather det_c2 det_keep | axis=0
             ratio_y = Div height_f down_f
             ratio_x = Div width_f right_f
             fx1, fy1, fx2, fy2 = Split found =[1,1,1,1] | axis=1\n";
    for corner in ["x1", "y1", "x2", "y2"] {
        text += &format!(
            "s{corner} = Squeeze f{corner} =[1]
             m{corner} = Mul s{corner} ratio_{}
             u{corner} = Unsqueeze m{corner} =[1]\n",
            &corner[..1]
        );
    }
    text + "boxes = Concat ux1 uy1 ux2 uy2 | axis=1\n"
}
