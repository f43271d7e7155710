"""AS4 over HTTP: the server that receives, the client that posts; neither decides anything about a message."""
