//! The tables that `compile` and `inspect` print.

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use frcnn::{Demand, DetectionMethod, Limits, NetworkCost};
use frcnn_core::Printable;

use crate::units;

/// How a column is aligned: words left, numbers right.
#[derive(Clone, Copy)]
pub(crate) enum Column {
    Words(&'static str),
    Numbers(&'static str),
}

use Column::{Numbers, Words};

/// A table without frames, so that it can be read, piped and pasted. A cell is one line, whatever a name in it has.
pub(crate) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('-').junction('-'));
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(columns.iter().map(|column| match column {
        Words(name) | Numbers(name) => *name,
    }));
    for (column, settings) in columns.iter().zip(table.column_iter_mut()) {
        settings.set_cell_alignment(match column {
            Words(_) => CellAlignment::Left,
            Numbers(_) => CellAlignment::Right,
        });
    }
    let cells = |row: Vec<String>| row.into_iter().map(|cell| Printable(cell).to_string());
    table.add_rows(rows.into_iter().map(|row| cells(row).collect::<Vec<String>>()));
    table.trim_fmt() + "\n"
}

/// Names and values, one pair a line, whatever a name in it has.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!(" {name:width$}  {}\n", Printable(value))).collect()
}

/// Every layer of both graphs, and the totals.
pub(crate) fn network(cost: &NetworkCost) -> String {
    let [height, width] = cost.blob;
    let graph = |which: &str| {
        table(
            &[
                Words("layer"),
                Words("op"),
                Numbers("output"),
                Numbers("parameters"),
                Numbers("MACs"),
                Numbers("weights"),
                Numbers("activation"),
            ],
            cost.layers.iter().filter(|layer| layer.graph == which).map(|layer| {
                vec![
                    layer.name.clone(),
                    layer.op.to_string(),
                    layer.output.clone(),
                    blank_if_none(layer.parameters, units::count),
                    blank_if_none(layer.macs, units::count),
                    blank_if_none(layer.weight_bytes, units::bytes),
                    units::bytes(layer.activation_bytes),
                ]
            }),
        )
    };
    let trunk_macs =
        if cost.method == DetectionMethod::RCnn { "trunk MACs, one RoI" } else { "trunk MACs, one image" };
    let has_judge = cost.judge_macs_per_roi > 0;
    let mut totals = vec![
        ("parameters", units::count(cost.parameters)),
        ("weights", units::bytes(cost.weight_bytes)),
        (trunk_macs, units::count(cost.trunk_macs)),
        ("head MACs, one RoI", units::count(cost.head_macs_per_roi)),
    ];
    let has_rpn = cost.layers.iter().any(|layer| layer.graph == "rpn");
    totals.extend(has_rpn.then(|| ("RPN MACs, all maps", units::count(cost.rpn_macs))));
    totals.extend(has_judge.then(|| ("judge MACs, one RoI", units::count(cost.judge_macs_per_roi))));
    totals.extend([
        ("peak activation memory of the trunk", units::bytes(cost.trunk_peak_bytes)),
        ("peak activation memory of the head, one RoI", units::bytes(cost.head_peak_bytes_per_roi)),
    ]);
    let what =
        if cost.method == DetectionMethod::RCnn { "one RoI warped to" } else { "one image as a blob of" };
    let rpn = if has_rpn { format!("RPN, the first map\n\n{}\n", graph("rpn")) } else { String::new() };
    let judge = if has_judge {
        format!("The cascade's judge, one RoI; some weights are the head's\n\n{}\n", graph("judge"))
    } else {
        String::new()
    };
    format!(
        "Trunk, {what} {height} x {width}\n\n{}\n{rpn}Head, one RoI\n\n{}\n{judge}Totals\n\n{}",
        graph("trunk"),
        graph("head"),
        pairs(&totals),
    )
}

/// What one photo asks for, beside the limits that hold where nothing else is said.
pub(crate) fn demand(demand: &Demand, limits: &Limits) -> String {
    let sizes: Vec<String> =
        demand.blobs.iter().map(|[height, width]| format!("{height} x {width}")).collect();
    let Demand { weight_bytes, frame_bytes, roi_bytes, opening_bytes, .. } = *demand;
    let memory = format!(
        "{} of {}: weights {}, maps and scratch {}, RoIs {}; {} while it is opened",
        units::bytes(demand.memory),
        units::bytes(limits.memory),
        units::bytes(weight_bytes),
        units::bytes(frame_bytes),
        units::bytes(roi_bytes),
        units::bytes(opening_bytes)
    );
    let rows = pairs(&[
        ("memory at most", memory),
        ("operations", format!("{} of {}", units::count(demand.operations), units::count(limits.operations))),
        ("layers", format!("{} of {}", demand.layers, limits.layers)),
    ]);
    let refused = match limits.check(demand) {
        Ok(()) => String::new(),
        Err(excess) => format!("\nNo command runs it as it is: {excess}\n"),
    };
    let title = format!(
        "Asked for by a 4:3 photo, scaled to {}, with {} RoIs and {}, of the limits",
        sizes.join(", "),
        demand.rois,
        units::several(demand.threads, "thread")
    );
    format!("{title}\n\n{rows}{refused}")
}

/// Most layers have no weights: a column of zeros would hide those that have.
fn blank_if_none(n: u64, unit: fn(u64) -> String) -> String {
    if n == 0 { String::new() } else { unit(n) }
}

/// One fully connected layer that was replaced by two thinner ones.
pub(crate) struct FactoredRow<'a> {
    pub(crate) layer: &'a str,
    pub(crate) rank: u64,
    /// Share of the squared singular values kept.
    pub(crate) energy: f64,
    /// In the Frobenius norm.
    pub(crate) relative_error: f64,
    pub(crate) parameters_before: u64,
    pub(crate) parameters_after: u64,
}

pub(crate) fn factored<'a>(rows: impl IntoIterator<Item = FactoredRow<'a>>) -> String {
    let columns = [
        Words("factored"),
        Numbers("rank"),
        Numbers("kept energy"),
        Numbers("weight error"),
        Numbers("parameters before"),
        Numbers("after"),
    ];
    table(
        &columns,
        rows.into_iter().map(|row| {
            vec![
                row.layer.to_string(),
                row.rank.to_string(),
                units::percent(row.energy),
                units::percent(row.relative_error),
                units::count(row.parameters_before),
                units::count(row.parameters_after),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_line_up_on_the_right_and_no_line_ends_in_blanks() {
        let rows = [["conv1", "9"], ["fc6", "1000"]].map(|row| row.map(str::to_string).to_vec());
        let text = table(&[Words("layer"), Numbers("n")], rows);
        assert_eq!(text, " layer      n\n--------------\n conv1      9\n fc6     1000\n");
    }

    #[test]
    fn a_cell_is_one_line_and_acts_on_no_terminal() {
        let name = "\u{1b}[2J\nx";
        let text = table(&[Words("layer")], [vec![name.to_string()]]);
        assert_eq!(text, " layer\n--------------\n \\u{1b}[2J\\nx\n");
        assert_eq!(pairs(&[("a", name.to_string())]), " a  \\u{1b}[2J\\nx\n");
    }

    #[test]
    fn values_start_in_one_column() {
        let text = pairs(&[("a", "1".to_string()), ("bcd", "2".to_string())]);
        assert_eq!(text, " a    1\n bcd  2\n");
    }
}
