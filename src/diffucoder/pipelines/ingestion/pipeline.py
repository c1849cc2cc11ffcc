"""The graph of ingestion."""

from kedro.pipeline import Node, Pipeline

from diffucoder.pipelines.ingestion import nodes


def create_pipeline() -> Pipeline:
    """Problems first: documents must not quote those that measure."""
    return Pipeline(
        [
            Node(
                nodes.make_problems,
                ["params:problems", "params:ingestion", "params:seed"],
                ["problems", "rejected_problems"],
                name="make_problems",
            ),
            Node(
                nodes.make_instruction_pairs,
                ["problems", "params:problems", "params:ingestion", "params:seed"],
                ["instruction_pairs", "rejected_pairs"],
                name="make_instruction_pairs",
            ),
            Node(nodes.read_documents, "params:ingestion", "documents", name="read_documents"),
            Node(
                nodes.find_rejected_documents,
                ["documents", "problems", "params:ingestion"],
                "rejected_documents",
                name="find_rejected_documents",
            ),
            Node(
                nodes.drop_rejected_documents,
                ["documents", "rejected_documents"],
                "clean_documents",
                name="drop_rejected_documents",
            ),
            Node(
                nodes.make_tokenizer,
                ["clean_documents", "instruction_pairs", "params:ingestion"],
                "tokenizer",
                name="make_tokenizer",
            ),
            Node(
                nodes.pack_documents,
                ["clean_documents", "tokenizer", "params:ingestion"],
                "token_shards",
                name="pack_documents",
            ),
            Node(
                nodes.pack_curated_documents,
                ["clean_documents", "instruction_pairs", "tokenizer", "params:ingestion"],
                "curated_shards",
                name="pack_curated_documents",
            ),
            Node(
                nodes.tokenize_pairs,
                ["instruction_pairs", "tokenizer", "params:ingestion"],
                ["tokenized_pairs", "excluded_pairs"],
                name="tokenize_pairs",
            ),
            Node(
                nodes.report_data,
                {
                    "documents": "documents",
                    "rejected_documents": "rejected_documents",
                    "clean_documents": "clean_documents",
                    "token_shards": "token_shards",
                    "curated_shards": "curated_shards",
                    "problems": "problems",
                    "rejected_problems": "rejected_problems",
                    "instruction_pairs": "instruction_pairs",
                    "rejected_pairs": "rejected_pairs",
                    "tokenized_pairs": "tokenized_pairs",
                    "excluded_pairs": "excluded_pairs",
                },
                "data_report",
                name="report_data",
            ),
        ],
        tags="ingestion",
    )
