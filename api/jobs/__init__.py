"""Jobs in RQ and their token logs, as the API sees them: submitted, looked up, relayed, ended."""
