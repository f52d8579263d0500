"""How a model learns: recipes, runs, the trainer and what it is made of."""
