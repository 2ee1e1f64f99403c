"""The small chat model shipped with the service: its generated corpus, its training and its evaluation."""
