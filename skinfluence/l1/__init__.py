"""An L1 penalty, of squared errors or a logistic loss: which columns count is part of every answer."""
