"""The tools in agents of real chat models, against local servers that check what they are sent."""
