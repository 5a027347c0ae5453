"""The law of one column given covariates: its distribution function, quantiles and expectations, without drawing."""

from ptilde.predictive.ensemble import predictive_laws, token_shares
from ptilde.predictive.law import Piece, PredictiveLaw
from ptilde.predictive.nodes import Nodes, by_flow, by_quadrature

__all__ = ["Nodes", "Piece", "PredictiveLaw", "by_flow", "by_quadrature", "predictive_laws", "token_shares"]
