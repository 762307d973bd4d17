"""What other few-shot libraries leave behind becomes a task and rows that `petapter train` takes."""
