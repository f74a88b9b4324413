"""The learning problem: target, network, loss, initial weights; one sample's g and D."""
