"""The stages: one package each, with its graph, its nodes and what runs on every rank."""
