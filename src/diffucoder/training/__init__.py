"""What runs on every rank of a stage that trains: `work(job, context)`, one module per stage."""
