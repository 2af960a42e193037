"""How networks are trained and measured: one LightningModule for each way of training."""
