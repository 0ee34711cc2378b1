"""What a reader sees of an executed notebook."""

from nbformat.v4 import new_code_cell, new_notebook

from dslstudy.book.stage import presentable


def executed(*tags):
    """A notebook as papermill leaves it, its parameters cell with some more tags."""
    cells = [
        new_code_cell("import this", metadata={"papermill": {"status": "completed"}}),
        new_code_cell('profile = "quick"', metadata={"tags": ["parameters", *tags]}),
        new_code_cell('# Parameters\nprofile = "paper"\n', metadata={"tags": ["injected-parameters"]}),
    ]
    return new_notebook(cells=cells, metadata={"papermill": {"duration": 1}})


def test_the_parameters_that_were_used_stand_in_for_the_defaults():
    notebook = presentable(executed())
    assert [cell.source for cell in notebook.cells] == ["import this", 'profile = "paper"\n']
    assert "papermill" not in notebook.metadata
    assert "papermill" not in notebook.cells[0].metadata


def test_hidden_parameters_stay_hidden():
    assert presentable(executed("remove-cell")).cells[1].metadata.tags == ["injected-parameters", "remove-cell"]


def test_a_notebook_that_was_not_executed_keeps_its_parameters():
    notebook = executed("hide-input")
    del notebook.cells[2]
    assert [cell.source for cell in presentable(notebook).cells] == ["import this", 'profile = "quick"']
